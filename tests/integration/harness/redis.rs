//! Real Redis servers on loopback ports of their own, that can be killed, frozen and restarted; ended on drop.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::folder::Folder;
use super::free_port::free_port;
use super::wait::eventually;

/// One redis-server without persistence.
pub struct Redis {
    port: u16,
    folder: Folder,
    arguments: Vec<String>,
    password: Option<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let password = arguments.iter().position(|argument| *argument == "--requirepass");
        let mut redis = Self {
            port: 0,
            folder: Folder::new(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            password: password.map(|at| arguments[at + 1].to_owned()),
            child: None,
        };
        // Another process may have taken the port in the meantime.
        let started = (0..5).any(|_| {
            redis.port = free_port();
            redis.run()
        });
        assert!(started, "redis-server {arguments:?} ends at once");
        redis
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// `127.0.0.1:PORT`.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL: every connection breaks, new ones are refused.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it on the same port, empty; kills it first if it still runs.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "redis-server ends at once on {}", self.addr());
    }

    /// Starts it and waits until it answers; false when it ended instead.
    fn run(&mut self) -> bool {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (Debian: apt-get install redis-server)");
        let child = self.child.insert(child);
        // It answers itself, not another that has the port.
        let id = format!("process_id:{}\r", child.id());
        let (mut gone, mut answers) = (false, false);
        let decided = eventually(Duration::from_secs(15), || {
            gone = self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
            answers = self.ask(&["INFO", "server"]).is_ok_and(|info| info.contains(&id));
            gone || answers
        });
        assert!(decided, "redis-server did not start on {}", self.addr());
        answers
    }

    /// SIGSTOP: connections stay and are accepted, nothing is answered.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Asks a command; the answer's lines without their marks, the members of a list one per line.
    pub fn command(&self, words: &[&str]) -> String {
        self.ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn ask(&self, words: &[&str]) -> Result<String, String> {
        let text = |error: std::io::Error| error.to_string();
        let stream = TcpStream::connect(self.addr()).map_err(text)?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(text)?;
        let mut reader = BufReader::new(&stream);
        if let Some(password) = &self.password {
            (&stream).write_all(&encoded(&["AUTH", password])).map_err(text)?;
            reply(&mut reader)?;
        }
        (&stream).write_all(&encoded(words)).map_err(text)?;
        reply(&mut reader)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn encoded(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes += &format!("${}\r\n{word}\r\n", word.len());
    }
    bytes.into_bytes()
}

fn reply(reader: &mut impl BufRead) -> Result<String, String> {
    let mut line = String::new();
    reader.read_line(&mut line).map_err(|error| error.to_string())?;
    let line = line.trim_end();
    let (mark, rest) = line.split_at_checked(1).ok_or("the connection ended")?;
    let count = || rest.parse::<i64>().unwrap_or(-1);
    match mark {
        "-" => Err(rest.to_owned()),
        "$" if count() >= 0 => {
            let mut bytes = vec![0; count() as usize + 2];
            reader.read_exact(&mut bytes).map_err(|error| error.to_string())?;
            bytes.truncate(bytes.len() - 2);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        "*" => {
            let members: Result<Vec<_>, _> = (0..count()).map(|_| reply(reader)).collect();
            Ok(members?.join("\n"))
        }
        "$" => Ok(String::new()),
        _ => Ok(rest.to_owned()),
    }
}

/// Three masters, each with a third of the slots. The others go on when one dies.
pub struct RedisCluster {
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts the nodes and waits until all know that the cluster is whole.
    pub fn start() -> Self {
        let (nodes, buses): (Vec<Redis>, Vec<String>) = (0..3)
            .map(|_| {
                let bus = free_port().to_string();
                let node = Redis::start_with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "2000",
                    "--cluster-require-full-coverage",
                    "no",
                ]);
                (node, bus)
            })
            .unzip();
        for (node, (from, to)) in nodes.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
            node.command(&["CLUSTER", "ADDSLOTSRANGE", from, to]);
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
        }
        let whole = |node: &Redis| {
            let info = node.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok")
                && info.contains("cluster_known_nodes:3")
                && info.contains("cluster_slots_assigned:16384")
        };
        assert!(
            eventually(Duration::from_secs(30), || nodes.iter().all(whole)),
            "the cluster did not come together"
        );
        Self { nodes }
    }

    /// The URL that names every node.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(Redis::addr).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// The node that keeps a key's slot.
    pub fn home(&self, key: &str) -> usize {
        let slot: usize = self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).parse().unwrap();
        match slot {
            0..=5460 => 0,
            5461..=10922 => 1,
            _ => 2,
        }
    }
}
