//! From desired hosts and present DNS records to actions; pure.
