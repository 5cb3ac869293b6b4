//! The process's own metrics, under their conventional names.

use std::{
    sync::atomic::AtomicU64,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::register::register;

/// Memory, CPU time and open files.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    memory: Gauge,
    cpu: Counter<f64, AtomicU64>,
    files: Gauge,
}

impl ProcessMetrics {
    /// Registers the metrics of a process that started at `start`.
    pub(super) fn register(root: &mut Registry, start: SystemTime) -> Self {
        let registry = root.sub_registry_with_prefix("process");
        let memory = register(registry, "resident_memory_bytes", "Resident memory");
        let cpu = register(registry, "cpu_seconds", "CPU time used");
        let files = register(registry, "open_fds", "Open file descriptors");
        let start_time: Gauge<f64, AtomicU64> =
            register(registry, "start_time_seconds", "Start time of the process, in seconds since 1970");
        start_time.set(start.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        Self { memory, cpu, files }
    }

    /// Reads the process's figures from /proc. On systems other than Linux they stay zero.
    pub(super) fn measure(&self) {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let kilobytes = read("status").lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()
        });
        self.memory.set(kilobytes.unwrap_or_default() * 1024);
        // User and system time are fields 14 and 15, in hundredths of a second; field 2 is the name in
        // parentheses.
        let stat = read("stat");
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        self.cpu.inc_by((f64::from(ticks) / 100.0 - self.cpu.get()).max(0.0));
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.files.set(i64::try_from(files).unwrap_or_default());
    }
}
