//! The init of a Pinhole guest, and its ear on the host's channel.

fn main() {}
