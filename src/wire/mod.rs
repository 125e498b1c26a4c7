//! virtio-media on the wire: bytes <-> types, no policy.
