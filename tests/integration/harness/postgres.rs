//! A PostgreSQL server of the tests' own: made in a temporary folder, on loopback, ended by its id.
//!
//! Written for speed: nothing is forced to disk. What the kernel has been given survives a SIGKILL all the same.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::free_port::free_port;

/// A running server.
pub struct Postgres {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
    owner: Option<(u32, u32)>,
    server: Mutex<Option<Child>>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);
static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

impl Postgres {
    /// One server for all tests of this process that run at the same time.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A new server.
    pub fn start() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("aegis-pg-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        // The server refuses to run as root.
        let root =
            std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        let owner = root.then(unprivileged);
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let mut postgres = Self { binaries: binaries(), folder, port: 0, owner, server: Mutex::new(None) };
        let made = postgres
            .command("initdb")
            .args(["-A", "trust", "-U", "aegis", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(postgres.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        // Not before: making its files takes seconds.
        postgres.port = free_port();
        postgres.run();
        postgres
    }

    /// Starts the server again after [`Postgres::kill`].
    pub fn run(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut server = self
                .command("postgres")
                .arg("-D")
                .arg(self.data())
                .args(["-p", &self.port.to_string()])
                .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
                .args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"])
                .stderr(std::fs::File::create(self.folder.join("log")).unwrap())
                .spawn()
                .unwrap();
            while server.try_wait().unwrap().is_none() {
                // It answers itself, not another that has the port.
                let data = self.psql("postgres", "SHOW data_directory");
                if data.is_ok_and(|data| Path::new(&data) == self.data()) {
                    *self.server.lock().unwrap() = Some(server);
                    return;
                }
                assert!(Instant::now() < deadline, "PostgreSQL did not answer: {}", self.log());
                std::thread::sleep(Duration::from_millis(50));
            }
            // The processes of a server that was killed may still be going.
            assert!(Instant::now() < deadline, "PostgreSQL did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends the server and everything it runs at once, as a crash would.
    pub fn kill(&self) {
        let Some(mut server) = self.server.lock().unwrap().take() else { return };
        let children = children(server.id());
        let _ = server.kill();
        for child in children {
            let _ = Command::new("kill").args(["-KILL", &child.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = server.wait();
    }

    /// From now on with this certificate and its key; the role `secret` is then let in only so, and with its password.
    pub fn serve_tls(&self, (certificate, key): &(PathBuf, PathBuf)) {
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.data().join(name);
            std::fs::copy(from, &to).unwrap();
            // As the server wants its key: nobody else's to read.
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = self.owner {
                chown(&to, Some(user), Some(group)).unwrap();
            }
        }
        let rules = self.data().join("pg_hba.conf");
        let others = std::fs::read_to_string(&rules).unwrap();
        let first = "hostssl all secret all scram-sha-256\nhost all secret all reject\n";
        std::fs::write(&rules, format!("{first}{others}")).unwrap();
        self.psql("postgres", "ALTER SYSTEM SET ssl = on").unwrap();
        self.psql("postgres", "SELECT pg_reload_conf()").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.psql("postgres", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").as_deref()
            != Ok("t")
        {
            assert!(Instant::now() < deadline, "PostgreSQL does not speak TLS: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A new empty database; its URL.
    pub fn database(&self) -> String {
        let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        format!("postgres://aegis@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs SQL in a database; what psql prints, unadorned.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let url = format!("postgres://aegis@127.0.0.1:{}/{database}", self.port);
        let told = self
            .command("psql")
            .stdout(Stdio::piped())
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql])
            .output();
        let told = told.map_err(|error| error.to_string())?;
        if told.status.success() {
            Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&told.stderr).into_owned())
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        // Not the home of whoever runs the tests: psql, as another user, could not look for certificates there.
        command.current_dir("/").env("HOME", &self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut server) = server {
            // Without waiting for its clients.
            let _ = Command::new("kill").args(["-INT", &server.id().to_string()]).status();
            let deadline = Instant::now() + Duration::from_secs(10);
            while matches!(server.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Where the server's programs are: Debian keeps them off the path.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/postgres").exists())
        .max_by_key(|path| version(path));
    if let Some(newest) = newest {
        return newest.join("bin");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    folders
        .find(|folder| folder.join("initdb").exists())
        .expect("PostgreSQL is not installed (Debian: postgresql)")
}

/// Ids of a user and group that may do little.
fn unprivileged() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).unwrap_or((65_534, 65_534))
}

/// The processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let started = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything.
        let after = stat.rsplit_once(')').map(|(_, after)| after.to_owned()).unwrap_or_default();
        after.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    ids.filter(started).collect()
}
