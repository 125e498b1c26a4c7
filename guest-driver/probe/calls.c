// SPDX-License-Identifier: GPL-2.0
/*
 * The functions of the frame vector, one call at a time, and what is done to a
 * vector by hand. All of it runs in process context, under the file's lock.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "calls.h"
#include "compat.h"

/* frame_vector_create() refuses more than this by itself, with a warning. */
#define API_MAX_FRAMES (INT_MAX / sizeof(void *) / 2)

/* PFNs that are copied from or to user space in one go. */
#define CHUNK 64

/**
 * has_memory_for() - whether a vector may be had, and the machine lives on
 * @nr: number of frames
 *
 * Where it would take more than there is, vmalloc() refuses before it begins.
 */
static bool has_memory_for(unsigned int nr)
{
	return nr <= FRAME_VECTOR_PROBE_MAX_FRAMES || nr > API_MAX_FRAMES ||
	       (u64)nr * sizeof(void *) >> PAGE_SHIFT >= totalram_pages();
}

/**
 * create() - frame_vector_create()
 * @calls: without a vector
 * @call: number of frames
 *
 * The two flags of a new vector are whatever was in the memory; they are cleared
 * here, so that what is reported is what the later calls made of them.
 *
 * Return: 0 if the call was made, or a negative errno.
 */
static int create(struct calls *calls, struct frame_vector_probe_call *call)
{
	if (calls->vec)
		return -EBUSY;
	if (!has_memory_for(call->nr))
		return -EINVAL;
	calls->vec = frame_vector_create(call->nr);
	if (calls->vec) {
		calls->vec->got_ref = false;
		calls->vec->is_pfns = false;
	}
	call->ret = !!calls->vec;
	return 0;
}

/**
 * lose() - remember the pages of a vector, which will not
 * @calls: with a vector that holds pinned pages
 *
 * Return: 0 or a negative errno.
 */
static int lose(struct calls *calls)
{
	struct frame_vector *vec = calls->vec;
	struct page **pages;

	if (calls->lost.pages)
		return -EBUSY;
	if (!vec->got_ref || !vec->nr_frames)
		return -EINVAL;
	pages = frame_vector_pages(vec);
	if (IS_ERR(pages))
		return PTR_ERR(pages);
	calls->lost.pages = kvmalloc_array(vec->nr_frames, sizeof(*pages),
					   GFP_KERNEL);
	if (!calls->lost.pages)
		return -ENOMEM;
	memcpy(calls->lost.pages, pages, vec->nr_frames * sizeof(*pages));
	calls->lost.nr = vec->nr_frames;
	return 0;
}

static void forget_lost(struct calls *calls)
{
	kvfree(calls->lost.pages);
	calls->lost.pages = NULL;
}

static void release_lost(struct calls *calls)
{
	if (calls->lost.pages)
		unpin_user_pages(calls->lost.pages, calls->lost.nr);
	forget_lost(calls);
}

/**
 * get() - get_vaddr_frames()
 * @calls: with a vector
 * @call: range, and how it is wanted
 * @again: the vector holds frames, and has not put them
 *
 * Return: 0 if the call was made, or a negative errno.
 */
static int get(struct calls *calls, struct frame_vector_probe_call *call,
	       bool again)
{
	int ret;

	if (again) {
		ret = lose(calls);
		if (ret)
			return ret;
	} else if (calls->vec->nr_frames) {
		return -EBUSY;
	}
	call->ret = probe_get_vaddr_frames(call->start, call->nr, call->flags,
					   calls->vec);
	/* 5.10 leaves the vector as it was where nothing at all is mapped. */
	if (again && call->ret <= 0 && calls->vec->nr_frames)
		forget_lost(calls);
	return 0;
}

/**
 * abandon() - forget a vector whose pages are pinned
 * @calls: with a vector
 *
 * Return: 0 or a negative errno.
 */
static int abandon(struct calls *calls)
{
	int ret = lose(calls);

	if (!ret)
		swap(calls->vec, calls->abandoned);
	return ret;
}

static void put(struct calls *calls, bool destroy)
{
	put_vaddr_frames(calls->vec);
	if (!destroy)
		return;
	frame_vector_destroy(calls->vec);
	calls->vec = NULL;
}

/**
 * fill() - fill the vector as get_vaddr_frames() once did for VM_PFNMAP
 * @calls: with a vector
 * @call: where the PFNs are, and how many
 *
 * Return: 0 or a negative errno.
 */
static int fill(struct calls *calls, struct frame_vector_probe_call *call)
{
	struct frame_vector *vec = calls->vec;
	u64 __user *from = u64_to_user_ptr(call->start);
	u64 chunk[CHUNK];
	unsigned int i, n, done;

	if (vec->nr_frames)
		return -EBUSY;
	if (call->nr > vec->nr_allocated)
		return -EINVAL;
	for (done = 0; done < call->nr; done += n) {
		n = min_t(unsigned int, call->nr - done, CHUNK);
		if (copy_from_user(chunk, from + done, n * sizeof(*chunk)))
			return -EFAULT;
		for (i = 0; i < n; i++)
			((unsigned long *)vec->ptrs)[done + i] = chunk[i];
	}
	vec->nr_frames = call->nr;
	vec->is_pfns = true;
	vec->got_ref = false;
	return 0;
}

/**
 * poison() - leave in the flags what memory that nobody cleared may hold
 * @calls: with a vector
 *
 * Return: 0 or a negative errno.
 */
static int poison(struct calls *calls)
{
	if (calls->vec->nr_frames)
		return -EBUSY;
	calls->vec->got_ref = true;
	calls->vec->is_pfns = true;
	return 0;
}

/**
 * calls_make() - make a call
 * @calls: a frame vector or none
 * @cmd: FRAME_VECTOR_PROBE_*
 * @call: its arguments, and what it returned
 *
 * An abandoned vector is for the caller to destroy, once it has let go of the
 * lock.
 *
 * Context: Process context, without the mmap lock.
 * Return: 0 if the call was made, or a negative errno.
 */
int calls_make(struct calls *calls, unsigned int cmd,
	       struct frame_vector_probe_call *call)
{
	void *view;

	call->ret = 0;
	if (cmd == FRAME_VECTOR_PROBE_CREATE)
		return create(calls, call);
	if (cmd == FRAME_VECTOR_PROBE_RELEASE) {
		release_lost(calls);
		return 0;
	}
	if (!calls->vec)
		return -ENODATA;

	switch (cmd) {
	case FRAME_VECTOR_PROBE_GET:
	case FRAME_VECTOR_PROBE_GET_AGAIN:
		return get(calls, call, cmd == FRAME_VECTOR_PROBE_GET_AGAIN);
	case FRAME_VECTOR_PROBE_PAGES_VIEW:
		view = frame_vector_pages(calls->vec);
		call->ret = IS_ERR(view) ? PTR_ERR(view) : 1;
		return 0;
	case FRAME_VECTOR_PROBE_PFNS_VIEW:
		view = frame_vector_pfns(calls->vec);
		call->ret = IS_ERR(view) ? PTR_ERR(view) : 1;
		return 0;
	case FRAME_VECTOR_PROBE_TO_PAGES:
		call->ret = frame_vector_to_pages(calls->vec);
		return 0;
	case FRAME_VECTOR_PROBE_TO_PFNS:
		frame_vector_to_pfns(calls->vec);
		return 0;
	case FRAME_VECTOR_PROBE_PUT:
	case FRAME_VECTOR_PROBE_DESTROY:
		put(calls, cmd == FRAME_VECTOR_PROBE_DESTROY);
		return 0;
	case FRAME_VECTOR_PROBE_FILL:
		return fill(calls, call);
	case FRAME_VECTOR_PROBE_POISON:
		return poison(calls);
	case FRAME_VECTOR_PROBE_ABANDON:
		return abandon(calls);
	}
	return -ENOTTY;
}

/**
 * calls_frames() - tell the frames in a vector, which stays as it is
 * @vec: vector, or NULL
 * @frames: where to, and how many
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
int calls_frames(const struct frame_vector *vec,
		 struct frame_vector_probe_frames *frames)
{
	u64 __user *to = u64_to_user_ptr(frames->pfns);
	u64 chunk[CHUNK];
	unsigned int i, n, done;

	frames->nr = vec ? min(frames->nr, vec->nr_frames) : 0;
	for (done = 0; done < frames->nr; done += n) {
		n = min_t(unsigned int, frames->nr - done, CHUNK);
		for (i = 0; i < n; i++) {
			void *ptr = vec->ptrs[done + i];

			chunk[i] = vec->is_pfns ? (uintptr_t)ptr :
				   page_to_pfn((struct page *)ptr);
		}
		if (copy_to_user(to + done, chunk, n * sizeof(*chunk)))
			return -EFAULT;
	}
	return 0;
}

/**
 * calls_end() - put and destroy what there is
 * @calls: a frame vector or none, which is left empty
 *
 * Context: Process context.
 */
void calls_end(struct calls *calls)
{
	if (calls->vec)
		put(calls, true);
	release_lost(calls);
}
