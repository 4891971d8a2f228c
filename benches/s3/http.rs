//! As much of HTTP/1.1 as a store on loopback needs: one request after another on a connection, which is made anew where the store closes it.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);
const BUFFER_BYTES: usize = 128 << 10;

pub struct Connection {
    host: String,
    stream: Option<BufReader<TcpStream>>,
}

/// What an answer's head says.
struct Head {
    status: u16,
    length: Option<usize>,
    is_chunked: bool,
    closes: bool,
}

impl Connection {
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            stream: None,
        }
    }

    /// Sends a request whose `head` ends with its empty line; the answer's body is in `into` afterwards.
    pub fn ask(&mut self, head: &str, body: &[u8], into: &mut Vec<u8>) -> Result<u16, Box<dyn Error>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open()?,
        };
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(body)?;
        let head = read_head(&mut stream)?;
        into.clear();
        match head.length {
            _ if head.is_chunked => read_chunks(&mut stream, into)?,
            Some(length) => {
                into.resize(length, 0);
                stream.read_exact(into)?;
            }
            None => _ = stream.read_to_end(into)?,
        }
        if !head.closes && (head.is_chunked || head.length.is_some()) {
            self.stream = Some(stream);
        }
        Ok(head.status)
    }

    fn open(&self) -> Result<BufReader<TcpStream>, Box<dyn Error>> {
        let stream = TcpStream::connect(&self.host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(BufReader::with_capacity(BUFFER_BYTES, stream))
    }
}

fn read_head(stream: &mut BufReader<TcpStream>) -> Result<Head, Box<dyn Error>> {
    let status = read_line(stream)?;
    let status = status.split(' ').nth(1).ok_or("no answer of HTTP")?.parse()?;
    let mut head = Head {
        status,
        length: None,
        is_chunked: false,
        closes: false,
    };
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            // A 204 has no body and says no length.
            let is_empty = head.status == 204;
            head.length = head.length.or(is_empty.then_some(0));
            return Ok(head);
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = Some(value.parse()?),
            "transfer-encoding" => head.is_chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => head.closes = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> Result<String, Box<dyn Error>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err("the store closed the connection".into());
    }
    Ok(line.trim_end().to_owned())
}

fn read_chunks(stream: &mut BufReader<TcpStream>, into: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    loop {
        let length = usize::from_str_radix(&read_line(stream)?, 16)?;
        let at = into.len();
        into.resize(at + length, 0);
        stream.read_exact(&mut into[at..])?;
        read_line(stream)?;
        if length == 0 {
            return Ok(());
        }
    }
}
