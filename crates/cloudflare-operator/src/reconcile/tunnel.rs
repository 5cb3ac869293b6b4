//! From desired hosts and the tunnel's present rules to the next document; pure.
