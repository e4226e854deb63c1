//! The gateway under test: the real binary, its configuration file, its output, and an orderly end.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::backend::Backend;
use super::client::{Call, Client};
use super::folder::Folder;
use super::response::Response;
use super::wait::eventually;

const START: Duration = Duration::from_secs(15);

/// Collects a configuration and starts the gateway with it.
#[derive(Clone)]
pub struct Builder {
    server: Vec<String>,
    admin: Vec<String>,
    top: Vec<String>,
    backends: Vec<Backend>,
    variables: Vec<(String, String)>,
}

impl Builder {
    /// Adds a line under `server:`, in place of the default for that key.
    pub fn server(mut self, line: &str) -> Self {
        set(&mut self.server, line);
        self
    }

    /// Adds a line under `admin:`.
    pub fn admin(mut self, line: &str) -> Self {
        set(&mut self.admin, line);
        self
    }

    /// Adds a line at the top level.
    pub fn top(mut self, line: &str) -> Self {
        set(&mut self.top, line);
        self
    }

    /// Adds a backend.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backends.push(backend);
        self
    }

    /// For [`Gateway::peak_memory`]: freed pages go back at once, so that the peak is what was held. The allocator
    /// (mimalloc) otherwise keeps them for a moment, on a busy machine 20 MiB and more.
    pub fn measuring_memory(self) -> Self {
        self.variable("MIMALLOC_PURGE_DELAY", "0")
    }

    /// Sets a variable of its environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes all backends out again.
    pub fn without_backends(mut self) -> Self {
        self.backends.clear();
        self
    }

    /// The configuration file.
    pub fn yaml(&self) -> String {
        let mut yaml = String::new();
        for (section, lines) in [("server", &self.server), ("admin", &self.admin)] {
            let _ = writeln!(yaml, "{section}:");
            for line in lines {
                let _ = writeln!(yaml, "  {line}");
            }
        }
        for line in &self.top {
            let _ = writeln!(yaml, "{line}");
        }
        yaml += "backends:\n";
        self.backends.iter().for_each(|backend| yaml += &backend.yaml());
        yaml
    }

    /// Starts `aegis serve` and waits until both listeners accept.
    pub fn start(self) -> Gateway {
        let mut gateway = self.launch();
        let ready = gateway.folder.path().join("ports.json");
        let up = eventually(START, || ready.exists() || gateway.child.try_wait().unwrap().is_some());
        assert!(up && ready.exists(), "the gateway did not start:\n{}\n{}", self.yaml(), gateway.log());
        let ports: Value = serde_json::from_slice(&fs::read(&ready).unwrap()).unwrap();
        let addr = |name: &str| ports[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
        (gateway.addr, gateway.admin) = (addr("gateway"), addr("admin"));
        gateway
    }

    /// Starts `aegis serve` and waits for it to give up by itself: exit code and output.
    pub fn start_and_fail(self) -> (Option<i32>, String) {
        let mut gateway = self.launch();
        let status = gateway.exit(START).expect("the gateway should have given up");
        (status.code(), gateway.log())
    }

    fn launch(&self) -> Gateway {
        let folder = Folder::new();
        let config = folder.path().join("aegis.yaml");
        fs::write(&config, self.yaml()).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = aegis(folder.path())
            .args(["serve", "-c"])
            .arg(&config)
            .envs(self.variables.clone())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let none = SocketAddr::from(([127, 0, 0, 1], 0));
        let token = self.admin.iter().find_map(|line| line.strip_prefix("token: ")).map(str::to_owned);
        Gateway { child, folder, addr: none, admin: none, token, panics: false, status: None }
    }
}

fn set(lines: &mut Vec<String>, line: &str) {
    let key = line.split(':').next().unwrap_or_default();
    lines.retain(|old| old.split(':').next() != Some(key));
    lines.push(line.to_owned());
}

/// Runs `aegis` with these arguments in an empty folder, to the end.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    run_with(folder, &[], arguments)
}

/// The same with these variables in its environment.
pub fn run_with(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    aegis(folder).envs(variables.iter().copied()).args(arguments).output().unwrap()
}

/// Runs `aegis` with this text on its standard input.
pub fn run_fed(folder: &Path, arguments: &[&str], text: &str) -> Output {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    drop(writer);
    aegis(folder).args(arguments).stdin(reader).output().unwrap()
}

/// Runs `aegis` with these arguments where nobody reads what it prints.
pub fn run_unheard(folder: &Path, arguments: &[&str]) -> ExitStatus {
    let closed = || std::io::pipe().unwrap().1;
    aegis(folder).args(arguments).stdout(closed()).stderr(closed()).status().unwrap()
}

/// Runs `aegis` with these arguments where there is no room for what it prints.
pub fn run_full(folder: &Path, arguments: &[&str]) -> Output {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    aegis(folder).args(arguments).stdout(full).output().unwrap()
}

fn aegis(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegis"));
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("RUST_BACKTRACE", "1")
        .env("AEGIS_PORT_FILE", folder.join("ports.json"))
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// A running gateway. Dropping it sends SIGTERM and fails the test unless it exits with 0 and never panicked.
pub struct Gateway {
    child: Child,
    folder: Folder,
    /// Address of the gateway listener.
    pub addr: SocketAddr,
    /// Address of the admin listener.
    pub admin: SocketAddr,
    token: Option<String>,
    panics: bool,
    status: Option<ExitStatus>,
}

impl Gateway {
    /// A configuration with loopback listeners on free ports, two workers and no file watch. Its stop is short,
    /// because every test ends with one: a quarter of that time is the drain period (ADR 0007). A test that is about
    /// the stop sets its own.
    pub fn builder() -> Builder {
        let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
        Builder {
            server: lines(&["host: 127.0.0.1", "port: 0", "workers: 2", "shutdownTimeoutMs: 400"]),
            admin: lines(&["port: 0"]),
            top: lines(&["hotReload: false"]),
            backends: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Starts a gateway with this one backend.
    pub fn with(backend: Backend) -> Self {
        Self::builder().backend(backend).start()
    }

    /// A new connection to the gateway listener.
    pub fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// One request on a connection of its own.
    pub fn send(&self, call: &Call) -> Response {
        self.client().send(call)
    }

    /// One GET on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.send(&Call::get(target))
    }

    /// One request to the admin listener, with the token when there is one.
    pub fn ask_admin(&self, call: Call) -> Response {
        let call = match &self.token {
            Some(token) => call.header("Authorization", &format!("Bearer {token}")),
            None => call,
        };
        Client::connect(self.admin).send(&call)
    }

    /// GET on the admin listener; must be 200 with JSON.
    pub fn admin_json(&self, target: &str) -> Value {
        let response = self.ask_admin(Call::get(target));
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        response.json()
    }

    /// POST on the admin listener with a JSON body (may be empty).
    pub fn admin_post(&self, target: &str, body: &str) -> Response {
        self.ask_admin(Call::post(target, body).header("Content-Type", "application/json"))
    }

    /// Path of a file in the gateway's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts another configuration in the place of the file at once, as editors do.
    pub fn rewrite(&self, builder: &Builder) {
        self.rewrite_text(&builder.yaml());
    }

    /// The same with any text.
    pub fn rewrite_text(&self, yaml: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, yaml).unwrap();
        fs::rename(new, self.folder.path().join("aegis.yaml")).unwrap();
    }

    /// Everything that was printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap_or_default()).into_owned()
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub fn exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let _ = eventually(limit, || {
            self.status = self.status.or_else(|| self.child.try_wait().unwrap());
            self.status.is_some()
        });
        self.status
    }

    /// The test makes something panic on purpose.
    pub fn expect_panics(&mut self) {
        self.panics = true;
    }

    /// Processor time that the gateway has used so far, of all its threads (proc(5), fields 14 and 15).
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
        let ticks = |field: usize| fields[field - 2].parse::<u64>().unwrap();
        // 100 ticks a second on every Linux that Rust runs on.
        Duration::from_millis((ticks(14) + ticks(15)) * 10)
    }

    /// Largest resident memory so far, in bytes, without the program itself: the code of a debug build fills three times
    /// as many pages as that of a release build, and more the more of it has run.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = |field: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        (kib("VmHWM:") - kib("RssFile:")) * 1024
    }

    fn check_end(&mut self) -> Result<(), String> {
        if self.status.is_none() {
            self.signal("TERM");
            let status =
                self.exit(Duration::from_secs(10)).ok_or("the gateway did not stop after SIGTERM")?;
            if status.code() != Some(0) {
                return Err(format!("the gateway ended with {status}"));
            }
        }
        match self.log().contains("panicked") {
            true if !self.panics => Err("the gateway panicked".into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let verdict = if thread::panicking() { Err("the test failed".to_owned()) } else { self.check_end() };
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let log = self.log();
        if let Err(reason) = verdict {
            let tail = log.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
            eprintln!("{reason}; the end of its log:\n{}", tail.join("\n"));
            assert!(thread::panicking(), "{reason}");
        }
    }
}
