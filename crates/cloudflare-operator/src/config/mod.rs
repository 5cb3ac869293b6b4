//! The configuration, from variables of the environment.
