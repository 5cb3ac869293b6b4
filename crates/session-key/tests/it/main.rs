//! The vectors shared with the TypeScript router, tables of valid and invalid names, and properties.

mod names;
mod properties;
mod vectors;
