//! The life of the process: build, spawn, wait for a signal, end in order.
