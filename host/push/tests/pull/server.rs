//! A web server on this machine that does what a test says: also what no good server does.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// N of `Range: bytes=N-`.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

/// What goes back.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection is cut after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// It is held open for so long before that.
    pub(crate) hold: Duration,
}

impl Response {
    /// With its length.
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Response {
        let body = body.into();
        Response {
            status: "200 OK",
            headers: vec![("content-length", body.len().to_string())],
            body,
            cut: None,
            hold: Duration::ZERO,
        }
    }

    /// Nothing but a status.
    pub(crate) fn status(status: &'static str) -> Response {
        Response {
            status,
            ..Response::ok("")
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.retain(|(own, _)| *own != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn cut(mut self, bytes: usize) -> Response {
        self.cut = Some(bytes);
        self
    }

    /// A file as an ordinary server gives it: whole, or from where it is asked for if it is the one
    /// with this tag.
    pub(crate) fn file(request: &Request, body: &[u8], etag: &str) -> Response {
        let same = request.header("if-range").is_none_or(|asked| asked == etag);
        let response = match request.range_start().filter(|_| same) {
            Some(start) if start >= body.len() => Response::status("416 Range Not Satisfiable"),
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                let mut response = Response::ok(&body[start..]).with("content-range", range);
                response.status = "206 Partial Content";
                response
            }
            None => Response::ok(body),
        };
        response.with("etag", etag)
    }
}

/// The address, and everything that came, in order.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `answer` gets each request and how many came before it.
    pub(crate) fn start(
        answer: impl Fn(&Request, usize) -> Response + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (known, answer) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (known, answer) = (known.clone(), answer.clone());
                std::thread::spawn(move || serve(&stream, &known, &*answer));
            }
        });
        Server { address, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: &TcpStream,
    known: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request, usize) -> Response,
) {
    let Some(request) = read(stream) else { return };
    let before = {
        let mut known = known.lock().unwrap();
        known.push(request.clone());
        known.len() - 1
    };
    let response = answer(&request, before);
    let mut head = format!("HTTP/1.1 {}\r\nconnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let sent = &response.body[..response.cut.unwrap_or(response.body.len())];
    // A client that has gone, as tests want it, is no fault.
    let _ = stream.write_all((head + "\r\n").as_bytes());
    let _ = stream.write_all(sent);
    let _ = stream.flush();
    std::thread::sleep(response.hold);
    let _ = stream.shutdown(Shutdown::Both);
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Request { path, headers })
}
