//! What the guest's init and its host say to each other.
