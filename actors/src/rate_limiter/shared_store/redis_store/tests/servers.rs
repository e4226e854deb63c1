//! Servers on free loopback ports, without persistence, killed by their process id on drop.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Client, Cmd, FromRedisValue, RedisResult, cmd};

/// One redis-server.
pub(super) struct Server {
    pub(super) port: u16,
    bus: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut server = Self::prepared();
        server.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        server.run();
        server
    }

    /// With TLS and nothing else.
    pub(super) fn secured(certificate: &str, key: &str) -> Self {
        let mut server = Self::prepared();
        let (certificate, key) = (server.keep("server.pem", certificate), server.keep("server.key", key));
        let port = server.port.to_string();
        let words = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no", "--tls-cert-file"];
        server.arguments = words.iter().map(|&word| word.to_owned()).collect();
        let rest =
            [certificate.clone(), "--tls-key-file".into(), key, "--tls-ca-cert-file".into(), certificate];
        server.arguments.extend(rest);
        server.run();
        server
    }

    fn prepared() -> Self {
        let (port, bus) = (free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("aegis-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { port, bus, folder, arguments: Vec::new(), child: None }
    }

    /// Writes a file that goes with the server; answers its path.
    pub(super) fn keep(&self, name: &str, text: &str) -> String {
        let file = self.folder.join(name);
        std::fs::write(&file, text).unwrap();
        file.to_string_lossy().into_owned()
    }

    /// Nodes that go on when another is away for longer than the node timeout.
    pub(super) fn clustered() -> Self {
        Self::start(&["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"])
    }

    /// A sentinel that watches one master under the name `main`, with more lines in its configuration.
    pub(super) fn sentinel(master: &Server, more: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("aegis-sentinel-{}-{}", std::process::id(), master.port));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("sentinel.conf");
        let port = master.port;
        let text = format!(
            "sentinel monitor main 127.0.0.1 {port} 1\nsentinel down-after-milliseconds main 2000\n\
             sentinel failover-timeout main 2000\n{more}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut server = Self { port: free_port(), bus: 0, folder, arguments: Vec::new(), child: None };
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").args([
            "--port",
            &server.port.to_string(),
            "--bind",
            "127.0.0.1",
        ]);
        server.spawn(&mut command);
        server
    }

    /// Again on the same port, empty.
    pub(super) fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"])
            .args(["--cluster-port", &self.bus.to_string(), "--cluster-node-timeout", "2000"])
            .args(&self.arguments);
        self.spawn(&mut command);
    }

    /// The file with its id is written by a server that listens: so it is this one, not one of another test's that
    /// has the port already.
    fn spawn(&mut self, command: &mut Command) {
        let id = self.folder.join("id");
        let _ = std::fs::remove_file(&id);
        let quiet = command.arg("--pidfile").arg(&id).current_dir(&self.folder).stdout(Stdio::null());
        let child = quiet.stderr(Stdio::null()).spawn().expect("redis-server runs (see scripts/ensure)");
        let child = self.child.insert(child);
        let begun = Instant::now();
        while !id.exists() {
            let gone = child.try_wait().unwrap();
            assert!(gone.is_none(), "redis-server on port {} ended at once: {gone:?}", self.port);
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "redis-server did not start on port {}",
                self.port
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Asks past the store.
    pub(super) fn tell<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        command.query(&mut Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(2))?)
    }

    /// A command in words.
    pub(super) fn ask<T: FromRedisValue>(&self, words: &str) -> T {
        let mut words = words.split(' ');
        let mut command = cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        self.tell(&command).unwrap()
    }

    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Three masters with a third of the slots each.
pub(super) fn cluster() -> Vec<Server> {
    let nodes: Vec<Server> = (0..3).map(|_| Server::clustered()).collect();
    let thirds = ["0 5460", "5461 10922", "10923 16383"];
    for (node, third) in nodes.iter().zip(thirds) {
        let _: () = node.ask(&format!("CLUSTER ADDSLOTSRANGE {third}"));
    }
    for node in &nodes[1..] {
        let _: () = nodes[0].ask(&format!("CLUSTER MEET 127.0.0.1 {} {}", node.port, node.bus));
    }
    let begun = Instant::now();
    let ready = |node: &Server| {
        let info: String = node.ask("CLUSTER INFO");
        ["cluster_state:ok", "cluster_known_nodes:3", "cluster_slots_assigned:16384"]
            .iter()
            .all(|sign| info.contains(sign))
    };
    while !nodes.iter().all(ready) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the cluster did not come together");
        std::thread::sleep(Duration::from_millis(20));
    }
    nodes
}

/// Below the range that the kernel hands out to clients, where a restarted server could lose its port to one; and none
/// twice in a process.
fn free_port() -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok() && taken.insert(*port);
    std::iter::repeat_with(|| fastrand::u16(10_000..30_000))
        .take(1000)
        .find(|port| free(port))
        .expect("a free port")
}
