/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between kernels that only the probe sees.
 */
#ifndef FRAME_VECTOR_PROBE_COMPAT_H
#define FRAME_VECTOR_PROBE_COMPAT_H

#include <linux/mm.h>
#include <linux/mmzone.h>

#include "../compat.h"
#include "frame_vector_probe.h"

/**
 * probe_get_vaddr_frames() - get_vaddr_frames(), with flags where it takes them
 * @start: first address
 * @nr: number of pages
 * @flags: FRAME_VECTOR_PROBE_*
 * @vec: frame vector
 *
 * 5.10 hands its flags to GUP. Later kernels choose their own, and are told no
 * more than whether the memory is written to.
 *
 * Context: Process context, without the mmap lock.
 * Return: What the function returned; -EOPNOTSUPP where it takes no such flags.
 */
static inline int probe_get_vaddr_frames(unsigned long start, unsigned int nr,
					 unsigned int flags,
					 struct frame_vector *vec)
{
#if PINHOLE_KERNEL(5, 12)
	if (flags & ~FRAME_VECTOR_PROBE_WRITE)
		return -EOPNOTSUPP;
	return pinhole_get_vaddr_frames(start, nr, flags, vec);
#else
	unsigned int gup = 0;

	if (flags & FRAME_VECTOR_PROBE_WRITE)
		gup |= FOLL_WRITE;
	if (flags & FRAME_VECTOR_PROBE_FORCE)
		gup |= FOLL_FORCE;
	if (flags & FRAME_VECTOR_PROBE_LONGTERM)
		gup |= FOLL_LONGTERM;
	return get_vaddr_frames(start, nr, gup, vec);
#endif
}

/**
 * probe_page_is_movable() - whether a page is in ZONE_MOVABLE
 * @page: page
 *
 * is_zone_movable_page() came with 5.11, and what it is made of has always been
 * there.
 *
 * Context: Any.
 * Return: Whether it is.
 */
static inline bool probe_page_is_movable(const struct page *page)
{
	return page_zonenum(page) == ZONE_MOVABLE;
}

#endif /* FRAME_VECTOR_PROBE_COMPAT_H */
