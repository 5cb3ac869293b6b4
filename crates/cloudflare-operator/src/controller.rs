//! The loop that keeps routes, records and rules as desired; every change wakes it.
