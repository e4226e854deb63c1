//! Servers on free loopback ports, without persistence, killed by their process id on drop.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
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
        let (port, bus) = (free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("aegis-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { port, bus, folder, arguments, child: None };
        server.run();
        server
    }

    pub(super) fn clustered() -> Self {
        Self::start(&["--cluster-enabled", "yes"])
    }

    /// A sentinel that watches one master under the name `main`.
    pub(super) fn sentinel(master: &Server) -> Self {
        let folder =
            std::env::temp_dir().join(format!("aegis-sentinel-{}-{}", std::process::id(), master.port));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("sentinel.conf");
        let port = master.port;
        let text = format!(
            "sentinel monitor main 127.0.0.1 {port} 1\nsentinel down-after-milliseconds main 300\n\
             sentinel failover-timeout main 2000\n"
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

    fn spawn(&mut self, command: &mut Command) {
        let quiet = command.current_dir(&self.folder).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(quiet.spawn().expect("redis-server runs (Debian: apt-get install redis-server)"));
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "redis-server did not start on port {}",
                self.port
            );
            std::thread::sleep(Duration::from_millis(5));
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
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
    };
    while !nodes.iter().all(ready) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the cluster did not come together");
        std::thread::sleep(Duration::from_millis(20));
    }
    nodes
}

/// Below the range that the kernel hands out to clients, where a restarted server could lose its port to one.
fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(10_000..30_000)).take(1000).find(free).expect("a free port")
}
