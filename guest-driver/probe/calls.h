/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions of the frame vector, one call at a time.
 */
#ifndef FRAME_VECTOR_PROBE_CALLS_H
#define FRAME_VECTOR_PROBE_CALLS_H

#include <linux/types.h>

#include "../compat.h"
#include "frame_vector_probe.h"

/**
 * struct pins - pages whose pins no frame vector knows of any more
 * @pages: the pages, or NULL
 * @nr: how many
 */
struct pins {
	struct page **pages;
	unsigned int nr;
};

/**
 * struct calls - a frame vector, and what it has lost
 * @vec: the frame vector, or NULL
 * @abandoned: a vector to be destroyed without the file's lock, or NULL
 * @lost: pages that were pinned when their vector was destroyed or forgot them
 */
struct calls {
	struct frame_vector *vec;
	struct frame_vector *abandoned;
	struct pins lost;
};

int calls_make(struct calls *calls, unsigned int cmd,
	       struct frame_vector_probe_call *call);
int calls_frames(const struct frame_vector *vec,
		 struct frame_vector_probe_frames *frames);
void calls_end(struct calls *calls);

#endif /* FRAME_VECTOR_PROBE_CALLS_H */
