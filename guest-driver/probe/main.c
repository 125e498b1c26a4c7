// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/frame_vector_probe: a frame vector an open file, calls on it over ranges
 * of the caller's own memory, and what came back.
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
#include "calls.h"
#include "compat.h"
#include "frame_vector_probe.h"
#include "hoard.h"

/* Memory of the module's own, to be mapped. */
static struct page *probe_pages[FRAME_VECTOR_PROBE_PAGES];

/* What the last get_vaddr_frames() returned, as who is killed in it cannot tell. */
static int last_returned;

/**
 * struct probe - an open file
 * @lock: held for a call
 * @calls: the frame vector
 * @hoard: memory kept from everybody
 */
struct probe {
	struct mutex lock; /* for a call */
	struct calls calls;
	struct hoard hoard;
};

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
	if (cmd == FRAME_VECTOR_PROBE_HOARD) {
		call.ret = hoard_take(&probe->hoard, call.nr);
		ret = call.ret < 0 ? call.ret : 0;
	} else {
		ret = calls_make(&probe->calls, cmd, &call);
	}
	if (ret)
		return ret;
	if (cmd == FRAME_VECTOR_PROBE_GET)
		WRITE_ONCE(last_returned, call.ret);

	memset(&call.vector, 0, sizeof(call.vector));
	vec = probe->calls.vec;
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
 * probe_ioctl_frames() - tell the frames in the vector
 * @probe: open file
 * @arg: &struct frame_vector_probe_frames
 *
 * Context: Process context, under the file's lock.
 * Return: 0 or a negative errno.
 */
static int probe_ioctl_frames(struct probe *probe,
			      struct frame_vector_probe_frames __user *arg)
{
	struct frame_vector_probe_frames frames;
	int ret;

	if (copy_from_user(&frames, arg, sizeof(frames)))
		return -EFAULT;
	ret = calls_frames(probe->calls.vec, &frames);
	if (ret)
		return ret;
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
	answer.movable = page && probe_page_is_movable(page);
	return copy_to_user(arg, &answer, sizeof(answer)) ? -EFAULT : 0;
}

static long probe_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct probe *probe = file->private_data;
	void __user *ptr = (void __user *)arg;
	struct frame_vector *abandoned = NULL;
	long ret;

	if (mutex_lock_killable(&probe->lock))
		return -EINTR;
	if (cmd == FRAME_VECTOR_PROBE_FRAMES)
		ret = probe_ioctl_frames(probe, ptr);
	else if (cmd == FRAME_VECTOR_PROBE_PAGE)
		ret = probe_ioctl_page(ptr);
	else
		ret = probe_ioctl_call(probe, cmd, ptr);
	swap(abandoned, probe->calls.abandoned);
	mutex_unlock(&probe->lock);

	/*
	 * With CONFIG_DEBUG_VM this is a BUG, which ends the process where it
	 * stands: not with the lock held.
	 */
	if (abandoned)
		frame_vector_destroy(abandoned);
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
	if (io)
		pinhole_vm_flags_set(vma, VM_IO);
	for (i = 0; i < nr && !ret; i++, addr += PAGE_SIZE)
		ret = io ? vm_insert_page(vma, addr, probe_pages[i]) :
			   remap_pfn_range(vma, addr,
					   page_to_pfn(probe_pages[i]),
					   PAGE_SIZE, vma->vm_page_prot);
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
	calls_end(&probe->calls);
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

module_param(last_returned, int, 0444);
MODULE_PARM_DESC(last_returned, "what the last get_vaddr_frames() returned");

module_init(probe_init);
module_exit(probe_exit);

MODULE_DESCRIPTION("The functions of the frame vector, one call at a time");
MODULE_LICENSE("GPL");
