/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What /dev/frame_vector_probe is told, and answers. An open file has one frame
 * vector at most; a request makes one call on it.
 */
#ifndef FRAME_VECTOR_PROBE_H
#define FRAME_VECTOR_PROBE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Most frames of a vector: 16 GiB of memory, and 32 MiB of vector. */
#define FRAME_VECTOR_PROBE_MAX_FRAMES (4U << 20)

/* Most pages that a mapping of the device can have. */
#define FRAME_VECTOR_PROBE_PAGES 4U

/* Offsets to map the device at. */
#define FRAME_VECTOR_PROBE_MAP_PFNMAP 0U
#define FRAME_VECTOR_PROBE_MAP_IO 0x1000000U

/*
 * How memory is wanted. The kernel's function takes the last two as flags of GUP
 * in 5.10 only, and is told of the first since 6.2; see its -EOPNOTSUPP.
 */
#define FRAME_VECTOR_PROBE_WRITE 1U
#define FRAME_VECTOR_PROBE_FORCE 2U
#define FRAME_VECTOR_PROBE_LONGTERM 4U

/**
 * struct frame_vector_probe_vector - a frame vector
 * @exists: there is one
 * @got_ref: its frames are pinned
 * @is_pfns: it holds PFNs, not pages
 * @is_vmalloc: it was allocated by vmalloc()
 * @nr_allocated: frames that it has room for
 * @nr_frames: frames that it holds
 */
struct frame_vector_probe_vector {
	__u8 exists;
	__u8 got_ref;
	__u8 is_pfns;
	__u8 is_vmalloc;
	__u32 nr_allocated;
	__u32 nr_frames;
};

/**
 * struct frame_vector_probe_call - a call on the file's frame vector
 * @start: an address
 * @nr: number of frames
 * @flags: how the memory is wanted, FRAME_VECTOR_PROBE_*
 * @ret: what the call returned; of a pointer, 1 or the error that it is
 * @vector: the vector after it
 */
struct frame_vector_probe_call {
	__u64 start;
	__u32 nr;
	__u32 flags;
	__s32 ret;
	struct frame_vector_probe_vector vector;
};

/**
 * struct frame_vector_probe_frames - the frames in the file's frame vector
 * @pfns: where their PFNs are stored, an array of __u64
 * @nr: in: size of the array; out: how many were stored
 * @reserved: 0
 */
struct frame_vector_probe_frames {
	__u64 pfns;
	__u32 nr;
	__u32 reserved;
};

/**
 * struct frame_vector_probe_page - a page, as its counters have it
 * @pfn: in: its PFN
 * @exists: it has a struct page and is online
 * @references: its reference count
 * @pinned: it may be pinned for DMA; see page_maybe_dma_pinned()
 * @movable: it is in ZONE_MOVABLE
 */
struct frame_vector_probe_page {
	__u64 pfn;
	__u32 exists;
	__s32 references;
	__u32 pinned;
	__u32 movable;
};

#define FRAME_VECTOR_PROBE_IOC(nr) \
	_IOWR('V', 0xd0 + (nr), struct frame_vector_probe_call)

/* The functions of the frame vector, by their names. */
#define FRAME_VECTOR_PROBE_CREATE	FRAME_VECTOR_PROBE_IOC(0)
#define FRAME_VECTOR_PROBE_GET		FRAME_VECTOR_PROBE_IOC(1)
#define FRAME_VECTOR_PROBE_PAGES_VIEW	FRAME_VECTOR_PROBE_IOC(2)
#define FRAME_VECTOR_PROBE_PFNS_VIEW	FRAME_VECTOR_PROBE_IOC(3)
#define FRAME_VECTOR_PROBE_TO_PAGES	FRAME_VECTOR_PROBE_IOC(4)
#define FRAME_VECTOR_PROBE_TO_PFNS	FRAME_VECTOR_PROBE_IOC(5)
#define FRAME_VECTOR_PROBE_PUT		FRAME_VECTOR_PROBE_IOC(6)
/* Puts first what is pinned. */
#define FRAME_VECTOR_PROBE_DESTROY	FRAME_VECTOR_PROBE_IOC(7)

/* Fills the vector with PFNs that are not pinned: @nr of __u64 at @start. */
#define FRAME_VECTOR_PROBE_FILL		FRAME_VECTOR_PROBE_IOC(8)
/* Destroys the vector while its pages are pinned; the file remembers them. */
#define FRAME_VECTOR_PROBE_ABANDON	FRAME_VECTOR_PROBE_IOC(9)
/* Unpins what was abandoned, or forgotten by another get. */
#define FRAME_VECTOR_PROBE_RELEASE	FRAME_VECTOR_PROBE_IOC(10)
/*
 * Takes all free blocks of memory of 64 KiB or more until the file is closed,
 * and leaves @nr single pages free. Returns how many blocks it took.
 */
#define FRAME_VECTOR_PROBE_HOARD	FRAME_VECTOR_PROBE_IOC(11)

/* Gets into a vector that holds pinned pages; the file remembers them. */
#define FRAME_VECTOR_PROBE_GET_AGAIN	FRAME_VECTOR_PROBE_IOC(12)
/* Sets the vector's two flags, as memory that was not cleared may have them. */
#define FRAME_VECTOR_PROBE_POISON	FRAME_VECTOR_PROBE_IOC(13)

#define FRAME_VECTOR_PROBE_FRAMES \
	_IOWR('V', 0xde, struct frame_vector_probe_frames)
#define FRAME_VECTOR_PROBE_PAGE \
	_IOWR('V', 0xdf, struct frame_vector_probe_page)

#endif /* FRAME_VECTOR_PROBE_H */
