//! The vectors shared with the TypeScript router, tables of good and bad names, and properties.

mod names;
mod properties;
mod vectors;
