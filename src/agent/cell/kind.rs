//! Kinds of memory that a user pointer can name.

table! {
    /// A kind of memory.
    Kind:
    AnonTouched = "anon-touched", "anonymous memory that was written to";
    AnonUntouched = "anon-untouched", "anonymous memory that was read but never written to: the zero page";
    Mlocked = "mlocked", "anonymous memory locked by mlock(2)";
    ReadOnly = "read-only", "anonymous memory made read-only after it was written to";
    ProtNone = "prot-none", "memory mapped without any access";
    ProtNoneTail = "prot-none-tail", "anonymous memory whose last page cannot be accessed";
    Hole = "hole", "anonymous memory with a page in the middle unmapped";
    TwoMappings = "two-mappings", "two anonymous mappings, one right after the other";
    TwoKinds = "two-kinds", "an anonymous mapping with a shared one of a memfd right after it";
    MemfdShared = "memfd-shared", "a shared mapping of a memfd";
    Null = "null", "the address 0, where nothing is mapped";
    KernelAddress = "kernel-address", "an address of the kernel's half of the address space";
    AddressSpaceEnd = "address-space-end", "memory that runs over the end of the process's address space";
    WrappingLength = "wrapping-length", "an address so high that with its length it wraps";
}

impl Kind {
    /// Bytes of a frame that suits it, more or less.
    pub const fn length(self) -> usize {
        64 << 10
    }
}
