//! The contract, kept by the backend in memory.

mod whose_processes_end_with_the_router {
    use pod_manager::{contract::MemoryHarness, memory::Restart};

    pod_manager::backend_contract!(MemoryHarness::new(Restart::ProcessesEnded));
}

mod whose_processes_outlive_the_router {
    use pod_manager::{contract::MemoryHarness, memory::Restart};

    pod_manager::backend_contract!(MemoryHarness::new(Restart::ProcessesContinued));
}
