//! One connection: requests read, answers written, as far as GET and HEAD need it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::answer::{Answer, End};

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;
/// Longer than any test waits.
const STALL: Duration = Duration::from_mins(10);
/// Long enough for the client to take in what came before a reset, which would discard it.
const TAKEN_IN: Duration = Duration::from_millis(20);

/// A GET or HEAD.
#[derive(Debug)]
pub(super) struct Request {
    /// Whether the answer is to have no body.
    pub(super) is_head: bool,
    /// Path and query; of the absolute form that HTTP proxies are sent, too.
    pub(super) path: String,
    headers: Vec<(String, String)>,
}

/// A client's connection.
pub(super) struct Connection(BufReader<TcpStream>);

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse(lines: &[String]) -> Option<Self> {
        let target = lines.first()?.split(' ').nth(1)?;
        let path = match target.strip_prefix("http://") {
            Some(absolute) => &absolute[absolute.find('/')?..],
            None => target,
        };
        let header = |line: &String| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        };
        let is_head = lines.first()?.starts_with("HEAD ");
        Some(Self { is_head, path: path.to_owned(), headers: lines[1..].iter().filter_map(header).collect() })
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// The next request; none when the client is done. One that begins with TLS is told so, as Go's servers do: containerd
    /// then comes back without.
    pub(super) async fn read(&mut self) -> io::Result<Option<Request>> {
        if self.0.fill_buf().await?.first() == Some(&TLS_HANDSHAKE) {
            self.0.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nthis is HTTP\n").await?;
            return Ok(None);
        }
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            match line.trim_end() {
                "" => return Ok(Request::parse(&lines)),
                line => lines.push(line.to_owned()),
            }
        }
    }

    /// Whether the connection goes on. A HEAD is answered by the headers alone, as they would be for a GET.
    pub(super) async fn write(&mut self, answer: Answer, is_head: bool) -> io::Result<bool> {
        let Answer { status, headers, body, end } = answer;
        let length = ("content-length".to_owned(), body.len().to_string());
        let headers = headers.iter().chain([&length]).map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!("HTTP/1.1 {status} Lab\r\n{}\r\n", headers.collect::<String>());
        self.0.write_all(head.as_bytes()).await?;
        let sent = match end {
            _ if is_head => 0,
            End::Open => body.len(),
            End::Reset | End::Cut | End::Stall => body.len() / 2,
        };
        self.0.write_all(&body[..sent]).await?;
        self.0.flush().await?;
        match end {
            End::Open => return Ok(true),
            End::Cut => {}
            End::Stall => sleep(STALL).await,
            End::Reset => {
                sleep(TAKEN_IN).await;
                self.0.get_ref().set_zero_linger()?;
            }
        }
        Ok(false)
    }
}
