//! A door between the product and containerd: a unix socket that passes everything on, looks at the gRPC requests, and does
//! something just before it lets a certain one through, such as ending whoever asks.

mod request;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};

use crate::workdir::Workdir;

pub use request::Kind;

/// What a client says first (RFC 9113, section 3.4), and how long a frame's head is, bytes.
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
/// The type of the frame that opens a stream, which is a request where a client sends it.
const HEADERS: u8 = 1;

/// Given a request's number, from 1, and its kind; whether it is the one.
type Choose = Box<dyn FnMut(usize, Kind) -> bool + Send>;
type Act = Box<dyn FnOnce() + Send>;

/// An open door; closing it ends nothing that is on its way.
#[derive(Debug)]
pub struct Gate {
    dir: Workdir,
    acted: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

struct Door {
    upstream: PathBuf,
    acted: Arc<AtomicBool>,
    /// Until the one request has come.
    waiting: Mutex<Waiting>,
}

struct Waiting {
    requests: usize,
    choose: Choose,
    act: Option<Act>,
}

impl Gate {
    /// Opens a door to the socket `upstream`, which does `act` before it lets the first request through that `choose` takes.
    pub fn open(
        upstream: &Path,
        choose: impl FnMut(usize, Kind) -> bool + Send + 'static,
        act: impl FnOnce() + Send + 'static,
    ) -> Result<Self> {
        let dir = Workdir::new()?;
        let listener = UnixListener::bind(dir.join("sock")).context("open a door to containerd")?;
        let (acted, closed) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let shut = Arc::clone(&closed);
        let waiting = Waiting { requests: 0, choose: Box::new(choose), act: Some(Box::new(act)) };
        let door = Arc::new(Door {
            upstream: upstream.to_owned(),
            acted: Arc::clone(&acted),
            waiting: Mutex::new(waiting),
        });
        thread::spawn(move || {
            // Ends with the connection by which the door is closed.
            for client in listener.incoming().map_while(Result::ok) {
                if shut.load(Ordering::SeqCst) {
                    return;
                }
                let door = Arc::clone(&door);
                thread::spawn(move || door.serve(&client));
            }
        });
        Ok(Self { dir, acted, closed })
    }

    /// Where it is.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// Whether the one request has come.
    pub fn acted(&self) -> bool {
        self.acted.load(Ordering::SeqCst)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(self.socket());
    }
}

impl Door {
    fn serve(&self, client: &UnixStream) {
        let Ok(server) = UnixStream::connect(&self.upstream) else { return };
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = io::copy(&mut &server, &mut &*client);
                let _ = client.shutdown(Shutdown::Both);
            });
            let _ = self.pass(client, &server);
            let _ = server.shutdown(Shutdown::Both);
        });
    }

    fn pass(&self, mut client: &UnixStream, mut server: &UnixStream) -> io::Result<()> {
        let mut preface = [0; PREFACE];
        client.read_exact(&mut preface)?;
        server.write_all(&preface)?;
        loop {
            let mut head = [0; FRAME_HEAD];
            client.read_exact(&mut head)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut frame = head.to_vec();
            frame.resize(FRAME_HEAD + length, 0);
            client.read_exact(&mut frame[FRAME_HEAD..])?;
            if head[3] == HEADERS {
                self.look(&frame[FRAME_HEAD..])?;
            }
            server.write_all(&frame)?;
        }
    }
}

impl Door {
    /// Acts, if this is the one.
    fn look(&self, block: &[u8]) -> io::Result<()> {
        let kind = Kind::of(block).ok_or_else(|| io::Error::other("a request without a path"))?;
        let act = {
            let mut waiting = locked(&self.waiting);
            waiting.requests += 1;
            let number = waiting.requests;
            // Not asked again once it has chosen.
            if waiting.act.is_some() && (waiting.choose)(number, kind) { waiting.act.take() } else { None }
        };
        if let Some(act) = act {
            self.acted.store(true, Ordering::SeqCst);
            act();
        }
        Ok(())
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
