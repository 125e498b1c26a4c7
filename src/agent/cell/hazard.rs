//! What happens to a buffer's memory while the device has it, and when.

table! {
    /// What happens to the memory.
    Hazard:
    None = "none", "nothing happens";
}

table! {
    /// When a hazard comes.
    Point:
    BeforeDma = "before-dma", "the buffer is queued and the card has not written to it yet";
    AfterDma = "after-dma", "the card has written the frame and the buffer cannot be dequeued yet";
}
