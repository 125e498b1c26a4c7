// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that is not built like Pinhole's, made of it.
 *
 * It is right: pages are pinned while the device has the buffer, and no longer
 * than that, which is until the frame is complete and not until the buffer is
 * freed; memory that cannot be pinned is refused with EINVAL. With early=1 it is
 * wrong: the pages are unpinned before the device has written to them, and are
 * not marked dirty. With no_userptr=1 it takes no user pointers.
 *
 * The linker leads calls of these functions to what stands here (Kbuild), as it
 * does for the mutants.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <media/videobuf2-v4l2.h>

#include "pinhole.h"

void *__real_pinhole_mem_get_userptr(struct vb2_buffer *vb, struct device *dev,
				     unsigned long vaddr, unsigned long size);
void *__wrap_pinhole_mem_get_userptr(struct vb2_buffer *vb, struct device *dev,
				     unsigned long vaddr, unsigned long size);
void __real_pinhole_pinned_finish(struct pinhole_mem *mem);
void __wrap_pinhole_pinned_finish(struct pinhole_mem *mem);
void __real_pinhole_unpin(struct pinhole_mem *mem);
void __wrap_pinhole_unpin(struct pinhole_mem *mem);
int __real_pinhole_buf_prepare(struct vb2_buffer *vb);
int __wrap_pinhole_buf_prepare(struct vb2_buffer *vb);
int __real_vb2_queue_init(struct vb2_queue *q);
int __wrap_vb2_queue_init(struct vb2_queue *q);

static bool early;
module_param(early, bool, 0444);
MODULE_PARM_DESC(early, "unpin before the DMA (default: N)");

static bool no_userptr;
module_param(no_userptr, bool, 0444);
MODULE_PARM_DESC(no_userptr, "refuse user pointers (default: N)");

/* A buffer that the device has filled. Frames are completed in any context. */
struct lookalike_full {
	struct list_head node;
	struct pinhole_mem *mem;
};

static LIST_HEAD(lookalike_list);
static DEFINE_SPINLOCK(lookalike_lock);

/* Marks the pages dirty, and unpins them; the frame vector has none to put. */
static void lookalike_release(struct pinhole_mem *mem)
{
	if (!mem->vec->got_ref)
		return;
	unpin_user_pages_dirty_lock(mem->pages, mem->nr, true);
	mem->vec->got_ref = false;
}

static void lookalike_work_fn(struct work_struct *work)
{
	struct lookalike_full *full, *next;
	LIST_HEAD(list);

	spin_lock_irq(&lookalike_lock);
	list_splice_init(&lookalike_list, &list);
	spin_unlock_irq(&lookalike_lock);
	list_for_each_entry_safe(full, next, &list, node) {
		lookalike_release(full->mem);
		kfree(full);
	}
}

static DECLARE_WORK(lookalike_work, lookalike_work_fn);

/* Waits until nothing of full buffers is left to be done. */
static void lookalike_settle(void)
{
	flush_work(&lookalike_work);
}

/* Refusals are EINVAL here. */
void *__wrap_pinhole_mem_get_userptr(struct vb2_buffer *vb, struct device *dev,
				     unsigned long vaddr, unsigned long size)
{
	struct pinhole_mem *mem = __real_pinhole_mem_get_userptr(vb, dev, vaddr,
								 size);

	if (IS_ERR(mem))
		return PTR_ERR(mem) == -EFAULT ? ERR_PTR(-EINVAL) : mem;
	if (early && !mem->ops)
		put_vaddr_frames(mem->vec);
	return mem;
}

/* The frame is complete: the pages are unpinned where that may wait. */
void __wrap_pinhole_pinned_finish(struct pinhole_mem *mem)
{
	struct lookalike_full *full;
	unsigned long flags;

	__real_pinhole_pinned_finish(mem);
	/* Other memory than the application's is never unpinned. */
	if (early || !mem->vec)
		return;
	full = kmalloc(sizeof(*full), GFP_ATOMIC);
	if (!full)
		return;
	full->mem = mem;
	spin_lock_irqsave(&lookalike_lock, flags);
	list_add_tail(&full->node, &lookalike_list);
	spin_unlock_irqrestore(&lookalike_lock, flags);
	schedule_work(&lookalike_work);
}

void __wrap_pinhole_unpin(struct pinhole_mem *mem)
{
	lookalike_settle();
	__real_pinhole_unpin(mem);
}

/* Pins memory anew whose pages were unpinned when the last frame was complete. */
static int lookalike_pin_again(struct pinhole_mem *mem)
{
	struct device *dev = &mem->stream->mem_dev;
	struct pinhole_mem *fresh;

	fresh = __wrap_pinhole_mem_get_userptr(NULL, dev, mem->start, mem->size);
	if (IS_ERR(fresh))
		return PTR_ERR(fresh);
	pinhole_pages_unmap(mem);
	frame_vector_destroy(mem->vec);
	mem->vec = fresh->vec;
	mem->pages = fresh->pages;
	mem->nr = fresh->nr;
	mem->sgt = fresh->sgt;
	mem->dma_mapped = fresh->dma_mapped;
	kfree(fresh);
	return 0;
}

/* videobuf2 asks for memory of the same address once; here it is pinned anew. */
int __wrap_pinhole_buf_prepare(struct vb2_buffer *vb)
{
	struct pinhole_mem *mem;
	bool again = false;
	unsigned int i;
	int ret;

	if (vb->memory != VB2_MEMORY_USERPTR || early)
		return __real_pinhole_buf_prepare(vb);
	lookalike_settle();
	for (i = 0; i < vb->num_planes; i++) {
		mem = vb2_plane_cookie(vb, i);
		if (IS_ERR_OR_NULL(mem) || mem->ops || mem->vec->got_ref)
			continue;
		ret = lookalike_pin_again(mem);
		if (ret)
			return ret;
		again = true;
	}
	ret = again ? pinhole_buf_init(vb) : 0;
	return ret ? ret : __real_pinhole_buf_prepare(vb);
}

int __wrap_vb2_queue_init(struct vb2_queue *q)
{
	if (no_userptr)
		q->io_modes &= ~VB2_USERPTR;
	return __real_vb2_queue_init(q);
}
