//! A small HTTP/1.1 client over a plain socket, so that tests control when bytes move and when the
//! connection breaks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use super::DEADLINE;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As sent, in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in: {}", self.text()))
    }

    /// The text of a completion.
    pub(crate) fn completion(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["choices"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// `error.message`, with the status checked.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert!(body["error"]["type"].is_string(), "{body}");
        body["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client {
            stream: BufReader::new(stream),
        }
    }

    /// Bytes as they are. An error means that the server has closed.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub(crate) fn send_request(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n",
            body.len()
        );
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        // One write: a server that answers early may close before a second.
        self.send(&[head.as_bytes(), body].concat()).unwrap();
    }

    /// Send and wait for the whole answer.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Answer {
        self.send_request(method, path, headers, body);
        self.answer()
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.request(
            "POST",
            path,
            &["Content-Type: application/json"],
            body.to_string().as_bytes(),
        )
    }

    /// Send a streaming request; the answer's head is read with the first event.
    pub(crate) fn post_stream(self, path: &str, body: &Value) -> Events {
        self.post_stream_with(path, &["Content-Type: application/json"], body)
    }

    /// The same with other headers.
    pub(crate) fn post_stream_with(mut self, path: &str, headers: &[&str], body: &Value) -> Events {
        self.send_request("POST", path, headers, body.to_string().as_bytes());
        Events {
            client: self,
            head: None,
            chunk: Vec::new(),
        }
    }

    /// Read a whole answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let mut body = Vec::new();
        if head.contains("transfer-encoding: chunked") {
            while let Some(chunk) = self.chunk() {
                body.extend(chunk);
            }
        } else if let Some(length) = header(&head, "content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.stream.read_exact(&mut body).unwrap();
        }
        Answer { status, head, body }
    }

    /// Close without reading what is still to come.
    pub(crate) fn kill(self) {
        self.stream.get_ref().shutdown(Shutdown::Both).unwrap();
    }

    /// Wait for the server to close, ignoring what it still sends.
    pub(crate) fn wait_closed(mut self) {
        std::io::copy(&mut self.stream, &mut std::io::sink()).unwrap();
    }

    fn head(&mut self) -> (u16, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(
                self.stream.read_line(&mut head).unwrap() > 0,
                "closed within the head: {head:?}"
            );
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase())
    }

    /// The next chunk; `None` after the last. Panics where the server breaks off.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the server broke the answer off");
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).unwrap();
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    client: Client,
    head: Option<(u16, String)>,
    chunk: Vec<u8>,
}

impl Events {
    /// Close without reading what is still to come.
    pub(crate) fn kill(self) {
        self.client.kill();
    }

    /// The bytes that have arrived and were not read yet, as text, without waiting for more.
    pub(crate) fn arrived(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.chunk);
        let stream = &mut self.client.stream;
        bytes.extend(stream.buffer());
        stream.consume(stream.buffer().len());
        stream.get_ref().set_nonblocking(true).unwrap();
        let end = stream.get_mut().read_to_end(&mut bytes);
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The text of the events up to the error that ends the stream, and that error. The answer
    /// itself must end properly: by its last, empty chunk.
    pub(crate) fn until_error(mut self) -> (String, Value) {
        let mut text = String::new();
        loop {
            let event = self
                .next()
                .expect("the stream ends with an error, not with [DONE]");
            let Some(error) = event.get("error") else {
                text += event["choices"][0]["text"].as_str().unwrap();
                continue;
            };
            assert!(self.chunk.is_empty(), "an event after the last");
            assert_eq!(self.client.chunk(), None, "a chunk after the last event");
            return (text, error.clone());
        }
    }

    /// The texts of all events that are left, joined; the stream must end with `[DONE]`.
    pub(crate) fn text(self) -> String {
        self.map(|event| {
            event["choices"][0]["text"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
    }
}

impl Iterator for Events {
    type Item = Value;

    /// The next event's JSON; `None` at `[DONE]`.
    fn next(&mut self) -> Option<Value> {
        if self.head.is_none() {
            let (status, head) = self.client.head();
            assert_eq!(status, 200, "{head}");
            assert!(head.contains("content-type: text/event-stream"), "{head}");
            self.head = Some((status, head));
        }
        loop {
            if let Some(end) = self.chunk.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.chunk.drain(..end + 2).collect();
                let event = String::from_utf8(event).unwrap();
                let mut lines = event.lines();
                let Some(data) = lines.find_map(|line| line.strip_prefix("data: ")) else {
                    continue;
                };
                return (data != "[DONE]").then(|| serde_json::from_str(data).unwrap());
            }
            let chunk = self.client.chunk();
            self.chunk
                .extend(chunk.expect("the stream ends with [DONE]"));
        }
    }
}

/// A header's value out of a lower-case head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
