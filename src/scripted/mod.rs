//! The two ends of virtio-media, scripted: each says what it is told to say, and
//! trusts nothing that the other end does.
