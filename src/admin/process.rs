//! What the system says of this process, under the names that Prometheus clients agree on. Linux only; elsewhere nothing.

use super::prometheus::Page;

/// Clock ticks per second of `/proc/self/stat`: 100 on every Linux since 2.4.
const TICKS: f64 = 100.0;
const PAGE_BYTES: f64 = 4096.0;

/// Writes the process metrics.
pub fn write(page: &mut Page) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // The name, in parentheses, may hold spaces.
    let fields: Vec<f64> = match stat.rsplit_once(')') {
        Some((_, rest)) => rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect(),
        None => return,
    };
    // proc(5), counted from the state, which is field 3.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let cpu = (field(14) + field(15)) / TICKS;
    page.single("process_cpu_seconds_total", "counter", "Processor time used, user and system.", cpu);
    page.single("process_threads", "gauge", "Threads of the process.", field(20));
    page.single("process_virtual_memory_bytes", "gauge", "Virtual memory.", field(23));
    page.single("process_resident_memory_bytes", "gauge", "Resident memory.", field(24) * PAGE_BYTES);
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.single("process_open_fds", "gauge", "Open file descriptors.", open.count() as f64);
    }
    if let Ok((soft, _)) = rlimit::getrlimit(rlimit::Resource::NOFILE) {
        page.single("process_max_fds", "gauge", "File descriptors that may be open.", soft as f64);
    }
}
