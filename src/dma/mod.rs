//! The DMA engine: scatter lists, guest memory, digests.
