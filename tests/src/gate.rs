//! A door between the product and containerd: a unix socket that passes everything on, counts the gRPC requests, and does
//! something just before it lets a certain one through, such as ending whoever asks.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};

use crate::workdir::Workdir;

/// What a client says first (RFC 9113, section 3.4), and how long a frame's head is, bytes.
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
/// The type of the frame that opens a stream, which is a request where a client sends it.
const HEADERS: u8 = 1;

type Act = Box<dyn FnOnce() + Send>;

/// An open door; closing it ends nothing that is on its way.
#[derive(Debug)]
pub struct Gate {
    dir: Workdir,
    requests: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

struct Door {
    upstream: PathBuf,
    requests: Arc<AtomicUsize>,
    at: usize,
    act: Mutex<Option<Act>>,
}

impl Gate {
    /// Opens a door to the socket `upstream`, which does `act` before it lets the request number `at` through, from 1.
    pub fn open(upstream: &Path, at: usize, act: impl FnOnce() + Send + 'static) -> Result<Self> {
        let dir = Workdir::new()?;
        let requests = Arc::new(AtomicUsize::new(0));
        let listener = UnixListener::bind(dir.join("sock")).context("open a door to containerd")?;
        let closed = Arc::new(AtomicBool::new(false));
        let shut = Arc::clone(&closed);
        let door = Arc::new(Door {
            upstream: upstream.to_owned(),
            requests: Arc::clone(&requests),
            at,
            act: Mutex::new(Some(Box::new(act))),
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
        Ok(Self { dir, requests, closed })
    }

    /// Where it is.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// How many requests have come by.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
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
            if head[3] == HEADERS && self.requests.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
                let act = locked(&self.act).take();
                if let Some(act) = act {
                    act();
                }
            }
            server.write_all(&frame)?;
        }
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
