// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/frame_vector_probe: the functions of the frame vector, one call at a
 * time, on ranges of the caller's own memory, and what came back.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/memory_hotplug.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "../compat.h"
#include "frame_vector_probe.h"
#include "hoard.h"

/* frame_vector_create() refuses more than this by itself, with a warning. */
#define PROBE_API_MAX_FRAMES (INT_MAX / sizeof(void *) / 2)

/* PFNs that are copied to user space in one go. */
#define PROBE_CHUNK 64

/* Memory of the module's own, to be mapped. */
static struct page *probe_pages[FRAME_VECTOR_PROBE_PAGES];

/**
 * struct probe - an open file
 * @lock: held for a call
 * @vec: the frame vector, or NULL
 * @abandoned: pages that were pinned when their vector was destroyed, or NULL
 * @nr_abandoned: how many
 * @hoard: memory kept from everybody
 */
struct probe {
	struct mutex lock; /* for a call */
	struct frame_vector *vec;
	struct page **abandoned;
	unsigned int nr_abandoned;
	struct hoard hoard;
};

/**
 * probe_create() - frame_vector_create()
 * @probe: open file
 * @call: number of frames
 *
 * The two flags of a new vector are whatever was in the memory; the probe
 * clears them, so that what it reports is what the later calls made of them.
 *
 * Context: Process context, under the file's lock.
 * Return: 0 if the call was made, or a negative errno.
 */
static int probe_create(struct probe *probe,
			struct frame_vector_probe_call *call)
{
	if (probe->vec)
		return -EBUSY;
	if (call->nr > FRAME_VECTOR_PROBE_MAX_FRAMES &&
	    call->nr <= PROBE_API_MAX_FRAMES)
		return -EINVAL;
	probe->vec = frame_vector_create(call->nr);
	if (probe->vec) {
		probe->vec->got_ref = false;
		probe->vec->is_pfns = false;
	}
	call->ret = !!probe->vec;
	return 0;
}

/**
 * probe_get() - get_vaddr_frames()
 * @probe: open file with a vector
 * @call: range
 *
 * Context: Process context, under the file's lock and without the mmap lock.
 * Return: 0 if the call was made, or a negative errno.
 */
static int probe_get(struct probe *probe, struct frame_vector_probe_call *call)
{
	/* Another get would forget what this one pinned. */
	if (probe->vec->nr_frames)
		return -EBUSY;
	call->ret = pinhole_get_vaddr_frames(call->start, call->nr,
					     call->write, probe->vec);
	return 0;
}

/**
 * probe_put() - put_vaddr_frames(), and perhaps frame_vector_destroy()
 * @probe: open file with a vector
 * @destroy: destroy it, too
 *
 * Context: Process context, under the file's lock.
 * Return: Nothing.
 */
static void probe_put(struct probe *probe, bool destroy)
{
	put_vaddr_frames(probe->vec);
	if (!destroy)
		return;
	frame_vector_destroy(probe->vec);
	probe->vec = NULL;
}

/**
 * probe_fill() - fill the vector as get_vaddr_frames() once did for VM_PFNMAP
 * @probe: open file with a vector
 * @call: first PFN, and how many
 *
 * Context: Process context, under the file's lock.
 * Return: 0 or a negative errno.
 */
static int probe_fill(struct probe *probe, struct frame_vector_probe_call *call)
{
	struct frame_vector *vec = probe->vec;
	unsigned int i;

	if (vec->nr_frames)
		return -EBUSY;
	if (call->nr > vec->nr_allocated)
		return -EINVAL;
	for (i = 0; i < call->nr; i++)
		((unsigned long *)vec->ptrs)[i] = call->start + i;
	vec->nr_frames = call->nr;
	vec->is_pfns = true;
	vec->got_ref = false;
	return 0;
}

/**
 * probe_abandon() - forget a vector whose pages are pinned
 * @probe: open file with a vector
 *
 * The caller destroys the vector once it has let go of the lock: with
 * CONFIG_DEBUG_VM that is a BUG, which ends the process where it stands.
 *
 * Context: Process context, under the file's lock.
 * Return: 0 or a negative errno.
 */
static int probe_abandon(struct probe *probe)
{
	struct frame_vector *vec = probe->vec;
	struct page **pages;

	if (probe->abandoned)
		return -EBUSY;
	if (!vec->got_ref || !vec->nr_frames)
		return -EINVAL;
	pages = frame_vector_pages(vec);
	if (IS_ERR(pages))
		return PTR_ERR(pages);
	probe->abandoned = kvmalloc_array(vec->nr_frames, sizeof(*pages),
					  GFP_KERNEL);
	if (!probe->abandoned)
		return -ENOMEM;
	memcpy(probe->abandoned, pages, vec->nr_frames * sizeof(*pages));
	probe->nr_abandoned = vec->nr_frames;
	probe->vec = NULL;
	return 0;
}

/**
 * probe_release_abandoned() - unpin what was abandoned
 * @probe: open file
 *
 * Context: Process context, under the file's lock.
 * Return: Nothing.
 */
static void probe_release_abandoned(struct probe *probe)
{
	if (!probe->abandoned)
		return;
	unpin_user_pages(probe->abandoned, probe->nr_abandoned);
	kvfree(probe->abandoned);
	probe->abandoned = NULL;
}

/**
 * probe_call() - make a call
 * @probe: open file
 * @cmd: which
 * @call: its arguments, and what it returned
 *
 * Context: Process context, under the file's lock.
 * Return: 0 if the call was made, or a negative errno.
 */
static int probe_call(struct probe *probe, unsigned int cmd,
		      struct frame_vector_probe_call *call)
{
	call->ret = 0;
	switch (cmd) {
	case FRAME_VECTOR_PROBE_CREATE:
		return probe_create(probe, call);
	case FRAME_VECTOR_PROBE_RELEASE:
		probe_release_abandoned(probe);
		return 0;
	case FRAME_VECTOR_PROBE_HOARD:
		call->ret = hoard_take(&probe->hoard, call->nr);
		return call->ret < 0 ? call->ret : 0;
	}

	if (!probe->vec)
		return -ENODATA;
	switch (cmd) {
	case FRAME_VECTOR_PROBE_GET:
		return probe_get(probe, call);
	case FRAME_VECTOR_PROBE_PAGES_VIEW: {
		struct page **pages = frame_vector_pages(probe->vec);

		call->ret = IS_ERR(pages) ? PTR_ERR(pages) : 1;
		return 0;
	}
	case FRAME_VECTOR_PROBE_PFNS_VIEW: {
		unsigned long *pfns = frame_vector_pfns(probe->vec);

		call->ret = IS_ERR(pfns) ? PTR_ERR(pfns) : 1;
		return 0;
	}
	case FRAME_VECTOR_PROBE_TO_PAGES:
		call->ret = frame_vector_to_pages(probe->vec);
		return 0;
	case FRAME_VECTOR_PROBE_TO_PFNS:
		frame_vector_to_pfns(probe->vec);
		return 0;
	case FRAME_VECTOR_PROBE_PUT:
	case FRAME_VECTOR_PROBE_DESTROY:
		probe_put(probe, cmd == FRAME_VECTOR_PROBE_DESTROY);
		return 0;
	case FRAME_VECTOR_PROBE_FILL:
		return probe_fill(probe, call);
	case FRAME_VECTOR_PROBE_ABANDON:
		return probe_abandon(probe);
	}
	return -ENOTTY;
}

/**
 * probe_ioctl_call() - make a call for user space
 * @probe: open file
 * @cmd: which
 * @arg: &struct frame_vector_probe_call
 *
 * Context: Process context, under the file's lock.
 * Return: 0 if the call was made, or a negative errno.
 */
static int probe_ioctl_call(struct probe *probe, unsigned int cmd,
			    struct frame_vector_probe_call __user *arg)
{
	struct frame_vector_probe_call call;
	struct frame_vector *vec;
	int ret;

	if (copy_from_user(&call, arg, sizeof(call)))
		return -EFAULT;
	ret = probe_call(probe, cmd, &call);
	if (ret)
		return ret;
	memset(&call.vector, 0, sizeof(call.vector));
	vec = probe->vec;
	if (vec) {
		call.vector.exists = true;
		call.vector.got_ref = vec->got_ref;
		call.vector.is_pfns = vec->is_pfns;
		call.vector.is_vmalloc = is_vmalloc_addr(vec);
		call.vector.nr_allocated = vec->nr_allocated;
		call.vector.nr_frames = vec->nr_frames;
	}
	return copy_to_user(arg, &call, sizeof(call)) ? -EFAULT : 0;
}

/**
 * probe_ioctl_frames() - tell the PFNs in the vector, which stays as it is
 * @probe: open file
 * @arg: &struct frame_vector_probe_frames
 *
 * Context: Process context, under the file's lock.
 * Return: 0 or a negative errno.
 */
static int probe_ioctl_frames(struct probe *probe,
			      struct frame_vector_probe_frames __user *arg)
{
	struct frame_vector *vec = probe->vec;
	struct frame_vector_probe_frames frames;
	u64 chunk[PROBE_CHUNK];
	u64 __user *to;
	unsigned int i, n, done;

	if (copy_from_user(&frames, arg, sizeof(frames)))
		return -EFAULT;
	frames.nr = vec ? min(frames.nr, vec->nr_frames) : 0;
	to = u64_to_user_ptr(frames.pfns);
	for (done = 0; done < frames.nr; done += n) {
		n = min_t(unsigned int, frames.nr - done, PROBE_CHUNK);
		for (i = 0; i < n; i++) {
			void *ptr = vec->ptrs[done + i];

			chunk[i] = vec->is_pfns ? (uintptr_t)ptr :
				   page_to_pfn((struct page *)ptr);
		}
		if (copy_to_user(to + done, chunk, n * sizeof(*chunk)))
			return -EFAULT;
	}
	return copy_to_user(arg, &frames, sizeof(frames)) ? -EFAULT : 0;
}

/**
 * probe_ioctl_page() - tell the counters of a page
 * @arg: &struct frame_vector_probe_page
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
static int probe_ioctl_page(struct frame_vector_probe_page __user *arg)
{
	struct frame_vector_probe_page answer;
	struct page *page;

	if (copy_from_user(&answer, arg, sizeof(answer)))
		return -EFAULT;
	page = pfn_to_online_page(answer.pfn);
	answer.exists = !!page;
	answer.references = page ? page_count(page) : 0;
	answer.pinned = page && pinhole_page_maybe_pinned(page);
	answer.reserved = 0;
	return copy_to_user(arg, &answer, sizeof(answer)) ? -EFAULT : 0;
}

static long probe_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct probe *probe = file->private_data;
	void __user *ptr = (void __user *)arg;
	struct frame_vector *vec;
	long ret;

	if (mutex_lock_killable(&probe->lock))
		return -EINTR;
	vec = probe->vec;
	if (cmd == FRAME_VECTOR_PROBE_FRAMES)
		ret = probe_ioctl_frames(probe, ptr);
	else if (cmd == FRAME_VECTOR_PROBE_PAGE)
		ret = probe_ioctl_page(ptr);
	else
		ret = probe_ioctl_call(probe, cmd, ptr);
	mutex_unlock(&probe->lock);

	if (cmd == FRAME_VECTOR_PROBE_ABANDON && !ret)
		frame_vector_destroy(vec);
	return ret;
}

/*
 * The module's own pages as a driver may map them that keeps no count of who
 * has them (VM_PFNMAP), or one that does (VM_IO alone).
 */
static int probe_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned int i, nr = vma_pages(vma);
	unsigned long addr = vma->vm_start;
	bool io = vma->vm_pgoff == FRAME_VECTOR_PROBE_MAP_IO >> PAGE_SHIFT;
	int ret = 0;

	if (!io && vma->vm_pgoff != FRAME_VECTOR_PROBE_MAP_PFNMAP >> PAGE_SHIFT)
		return -EINVAL;
	if (nr > FRAME_VECTOR_PROBE_PAGES || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	for (i = 0; i < nr && !ret; i++, addr += PAGE_SIZE)
		ret = io ? vm_insert_page(vma, addr, probe_pages[i]) :
			   remap_pfn_range(vma, addr,
					   page_to_pfn(probe_pages[i]),
					   PAGE_SIZE, vma->vm_page_prot);
	if (io)
		pinhole_vm_flags_set(vma, VM_IO);
	return ret;
}

static int probe_open(struct inode *inode, struct file *file)
{
	struct probe *probe;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	probe = kzalloc(sizeof(*probe), GFP_KERNEL);
	if (!probe)
		return -ENOMEM;
	mutex_init(&probe->lock);
	hoard_init(&probe->hoard);
	file->private_data = probe;
	return 0;
}

static int probe_release(struct inode *inode, struct file *file)
{
	struct probe *probe = file->private_data;

	hoard_free(&probe->hoard);
	if (probe->vec)
		probe_put(probe, true);
	probe_release_abandoned(probe);
	mutex_destroy(&probe->lock);
	kfree(probe);
	return 0;
}

static const struct file_operations probe_fops = {
	.owner = THIS_MODULE,
	.open = probe_open,
	.release = probe_release,
	.unlocked_ioctl = probe_ioctl,
	.mmap = probe_mmap,
};

static struct miscdevice probe_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "frame_vector_probe",
	.fops = &probe_fops,
	.mode = 0600,
};

static void probe_free_pages(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probe_pages); i++)
		if (probe_pages[i])
			__free_page(probe_pages[i]);
}

static int __init probe_init(void)
{
	unsigned int i;
	int ret = -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(probe_pages); i++) {
		probe_pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!probe_pages[i])
			goto err_free;
	}
	ret = misc_register(&probe_device);
	if (ret)
		goto err_free;
	return 0;

err_free:
	probe_free_pages();
	return ret;
}

static void __exit probe_exit(void)
{
	misc_deregister(&probe_device);
	probe_free_pages();
}

static bool debug_vm = IS_ENABLED(CONFIG_DEBUG_VM);
module_param(debug_vm, bool, 0444);
MODULE_PARM_DESC(debug_vm, "whether the kernel has CONFIG_DEBUG_VM");

module_init(probe_init);
module_exit(probe_exit);

MODULE_DESCRIPTION("The functions of the frame vector, one call at a time");
MODULE_LICENSE("GPL");
