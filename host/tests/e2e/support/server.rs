//! `sterna serve` as a process, on a port the system chose; killed when the test is over.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::http::{Answer, Client};
use super::{DEADLINE, holds_in_time, wait_until};

/// The binary under test, without configuration from the tester's environment.
pub(crate) fn sterna() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STERNA_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Serve the demo model.
    pub(crate) fn start(options: &[&str]) -> Server {
        Server::start_with(options, &[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn start_with(options: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut command = sterna();
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(options)
            .envs(environment.iter().copied());
        Server::announced(&mut command)
    }

    /// A `sterna` that prints its address as `sterna serve` does.
    pub(crate) fn announced(command: &mut Command) -> Server {
        let (server, announced) = Server::try_announced(command);
        assert!(announced, "no start line; log: {}", server.log());
        server
    }

    /// The same, and whether it did: else it has closed its output, as a process that ends does.
    pub(crate) fn try_announced(command: &mut Command) -> (Server, bool) {
        let (mut server, stdout) = Server::launch(command);
        let mut first = String::new();
        BufReader::new(stdout).read_line(&mut first).unwrap();
        server.address = address_after("http://", &first);
        let announced = server.address.starts_with("127.0.0.1:");
        (server, announced)
    }

    /// The same, listening on all addresses.
    pub(crate) fn announced_anywhere(command: &mut Command) -> Server {
        let (mut server, stdout) = Server::launch(command);
        let mut first = String::new();
        BufReader::new(stdout).read_line(&mut first).unwrap();
        let address = address_after("http://", &first);
        let port = address.rsplit(':').next().unwrap();
        server.address = format!("127.0.0.1:{port}");
        server
    }

    /// Any other server, which writes its address to stderr.
    pub(crate) fn other(command: &mut Command) -> Server {
        Server::logged(command, "http://")
    }

    /// Our own, which has no model yet.
    pub(crate) fn loading(command: &mut Command) -> Server {
        Server::logged(command, "listening on ")
    }

    /// One that writes its address to stderr, after `before`.
    fn logged(command: &mut Command, before: &str) -> Server {
        let (mut server, _) = Server::launch(command);
        wait_until("the server's address", || server.log().contains(before));
        server.address = address_after(before, &server.log());
        server
    }

    fn launch(command: &mut Command) -> (Server, ChildStdout) {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let reader = std::thread::spawn({
            let (log, stderr) = (Arc::clone(&log), child.stderr.take().unwrap());
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        let stdout = child.stdout.take().unwrap();
        let server = Server {
            child,
            address: String::new(),
            log,
            reader: Some(reader),
        };
        (server, stdout)
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.address)
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.connect().request("GET", path, &[], b"")
    }

    /// One JSON request on a connection of its own.
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> Answer {
        self.connect().post(path, body)
    }

    /// The value of a metric line, labels included in `name`; 0 where it is not shown yet.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// Wait until a metric has this value.
    pub(crate) fn wait_metric(&self, name: &str, value: f64) {
        if !holds_in_time(|| self.metric(name) == value) {
            let present = self.metric(name);
            panic!(
                "{name} is {present}, not {value}; log:
{}",
                self.log()
            );
        }
    }

    /// Its stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Send a signal, by the name `kill` takes.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &script])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Wait for the end; the log is complete then.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait_for_exit(&mut self.child);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last `HOST:PORT` after these words.
fn address_after(before: &str, text: &str) -> String {
    let address = text.rsplit(before).next().unwrap_or_default();
    let end = address.find(|c: char| c.is_whitespace() || c == '/' || c == ';');
    address[..end.unwrap_or(address.len())].to_owned()
}

/// Run to the end: exit status, stdout, stderr.
pub(crate) fn run(command: &mut Command) -> (ExitStatus, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let out = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let mut stderr = child.stderr.take().unwrap();
    let err = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let status = wait_for_exit(&mut child);
    (
        status,
        out.join().unwrap().unwrap(),
        err.join().unwrap().unwrap(),
    )
}

fn wait_for_exit(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!(
                "process {} was still running after {DEADLINE:?}",
                child.id()
            );
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
