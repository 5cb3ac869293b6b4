//! The sessions that exist, from their volume claims.
