// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers in the device's own memory: MMAP buffers on the wire (VIRTIO 1.4,
 * section "Device Operation: Mapping a MMAP buffer").
 *
 * The device makes the buffers when videobuf2 wants some, and frees them when
 * videobuf2 has given back the last. Each plane is mapped into the shared memory
 * region from there on, until the last program that has mapped it has unmapped it:
 * the device keeps a mapping that long, whatever becomes of the buffers. A reset
 * ends all mappings at once. Programs lose theirs before it: what the device maps
 * next in the same place is not for them.
 *
 * Only devices with one context, and one stream in it, have such buffers.
 */
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/refcount.h>
#include <linux/slab.h>

#include "pinhole.h"

static bool device_memory;
module_param(device_memory, bool, 0644);
MODULE_PARM_DESC(device_memory,
		 "have MMAP buffers in the device's own memory, also if it takes such in the guest's; holds for buffers that are made from then on (default: N)");

/*
 * Where planes begin in the file through which programs map them, in pages: beyond
 * what videobuf2 has an offset for, so that their mappings can be ended without
 * those of guest memory.
 */
#define PINHOLE_REGION_PGOFF (1UL << (32 - PAGE_SHIFT))

/**
 * struct pinhole_plane - a plane in the device's memory
 * @mem: what the rest of the driver knows of it
 * @node: entry in the list of what is mapped
 * @users: videobuf2, and each mapping of a program
 * @munmap: command that ends the mapping, which needs no memory then
 * @epoch: the region's when it was mapped
 * @phys: guest-physical address of the first byte
 * @vmas: number of mappings of programs (under the region's lock, like @inode)
 * @inode: file through which programs have mapped it, and which they hold; NULL if
 *	   none has
 */
struct pinhole_plane {
	struct pinhole_mem mem;
	struct list_head node;
	refcount_t users;
	struct pinhole_cmd *munmap;
	unsigned int epoch;
	phys_addr_t phys;
	unsigned int vmas;
	struct inode *inode;
};

static struct pinhole_plane *to_pinhole_plane(struct pinhole_mem *mem)
{
	return container_of(mem, struct pinhole_plane, mem);
}

/* A QUERYBUF with the planes of a multi-planar buffer. */
struct pinhole_querybuf {
	struct v4l2_buffer buffer;
	struct v4l2_plane planes[VIRTIO_MEDIA_MAX_PLANES];
};

/* Asks for @count buffers, or that there be none; says how many there are. */
static int pinhole_region_reqbufs(struct pinhole_device *dev,
				  unsigned int *count)
{
	struct pinhole_region *region = &dev->region;
	struct pinhole_context *ctx = &dev->context;
	struct v4l2_requestbuffers req = {
		.count = *count,
		.type = ctx->streams[0].queue.type,
		.memory = V4L2_MEMORY_MMAP,
	};
	const struct pinhole_call call = {
		.cmd = VIDIOC_REQBUFS,
		.payload = &req,
		.length = sizeof(req),
	};
	int ret;

	mutex_lock(&dev->commands.mutex);
	ret = pinhole_call_locked(ctx, &call);
	if (!ret) {
		region->session = ctx->session.opened;
		region->made = READ_ONCE(region->epoch);
	} else if (!*count || ret == -ERESTARTSYS || ret == -EIO) {
		/* Buffers that nobody knows of would keep the format as it is. */
		pinhole_session_replace(ctx, 0);
	}
	mutex_unlock(&dev->commands.mutex);
	if (!ret)
		*count = req.count;
	return ret;
}

/**
 * pinhole_region_has_buffers() - whether the device still has the buffers
 * @dev: device
 *
 * Context: Any; an answer that is to stay true needs commands.mutex.
 * Return: False if the session that had them was lost, or the device was reset.
 */
bool pinhole_region_has_buffers(struct pinhole_device *dev)
{
	const struct pinhole_session *session = &dev->context.session;
	const struct pinhole_region *region = &dev->region;

	return !READ_ONCE(session->bad) &&
	       READ_ONCE(session->opened) == region->session &&
	       READ_ONCE(region->epoch) == region->made;
}

/*
 * Has the device free its buffers, if it has any that nobody uses. A stream whose
 * buffers were removed keeps them: others may not be asked for in it.
 */
void pinhole_region_free(struct pinhole_device *dev)
{
	struct pinhole_region *region = &dev->region;
	unsigned int none = 0;

	if (!region->count || region->held ||
	    vb2_is_streaming(&dev->context.streams[0].queue))
		return;
	region->count = 0;
	if (pinhole_region_has_buffers(dev))
		pinhole_region_reqbufs(dev, &none);
}

/**
 * pinhole_region_request() - have the device make buffers
 * @dev: device, whose format is known
 * @count: number of buffers; becomes the number that there are
 *
 * videobuf2 asks a second time if it could not map all of them.
 *
 * Context: Process context, under queue_mutex. Waits for the device.
 * Return: 0 or a negative errno.
 */
int pinhole_region_request(struct pinhole_device *dev, unsigned int *count)
{
	struct pinhole_region *region = &dev->region;
	int ret;

	if (region->held)
		return *count <= region->count ? 0 : -ENOMEM;
	ret = pinhole_region_reqbufs(dev, count);
	if (ret)
		return ret;
	region->count = min_t(unsigned int, *count, VIDEO_MAX_FRAME);
	region->next = 0;
	*count = region->count;
	return region->count ? 0 : -ENOMEM;
}

/* Where the device has a plane: what its MMAP takes as the offset. */
static int pinhole_region_query(struct pinhole_device *dev, unsigned int index,
				unsigned int plane, u32 *offset)
{
	const struct pinhole_stream *stream = &dev->context.streams[0];
	const unsigned int num_planes = stream->num_planes;
	struct pinhole_querybuf query = {
		.buffer.index = index,
		.buffer.type = stream->queue.type,
		.buffer.memory = V4L2_MEMORY_MMAP,
	};
	struct pinhole_call call = {
		.cmd = VIDIOC_QUERYBUF,
		.payload = &query,
		.length = sizeof(query.buffer),
	};
	int ret;

	lockdep_assert_held(&dev->commands.mutex);
	if (num_planes > ARRAY_SIZE(query.planes))
		return -EINVAL;
	if (pinhole_is_multiplanar(stream)) {
		query.buffer.length = num_planes;
		call.length += num_planes * sizeof(query.planes[0]);
	}
	ret = pinhole_session_call(&dev->context, &call);
	if (ret)
		return ret;
	*offset = pinhole_is_multiplanar(stream) ?
		  query.planes[plane].m.mem_offset : query.buffer.m.offset;
	return 0;
}

/* Maps what the device has at @offset. */
static int pinhole_region_map(struct pinhole_device *dev, u32 offset,
			      u64 *addr, u64 *len)
{
	struct virtio_media_resp_mmap *resp;
	struct virtio_media_cmd_mmap *req;
	struct pinhole_cmd *cmd;
	int ret;

	lockdep_assert_held(&dev->commands.mutex);
	cmd = pinhole_cmd_alloc(dev, sizeof(*req), sizeof(*resp), 0);
	if (IS_ERR(cmd))
		return PTR_ERR(cmd);
	req = cmd->req;
	req->hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_MMAP);
	req->session_id = cpu_to_le32(dev->context.session.id);
	req->flags = cpu_to_le32(VIRTIO_MEDIA_MMAP_FLAG_RW);
	req->offset = cpu_to_le32(offset);

	/* What was mapped for a process that is killed would stay mapped. */
	ret = pinhole_cmd_call(cmd, false);
	if (!ret && cmd->used < sizeof(*resp))
		ret = -EIO;
	if (!ret) {
		resp = cmd->resp;
		*addr = le64_to_cpu(resp->driver_addr);
		*len = le64_to_cpu(resp->len);
	}
	pinhole_cmd_release(cmd);
	return ret;
}

/*
 * Whether the device has mapped all pages of @size bytes, and within the region. It
 * says how long the plane is, which may end within a page.
 */
static bool pinhole_region_fits(const struct pinhole_region *region, u64 addr,
				u64 len, unsigned long size)
{
	return PAGE_ALIGNED(addr) && len <= region->shm.len &&
	       PAGE_ALIGN(len) >= size && addr <= region->shm.len &&
	       PAGE_ALIGN(size) <= region->shm.len - addr;
}

/* Context: Any; the command queue's lock is held. */
static void pinhole_munmap_complete(struct pinhole_cmd *cmd)
{
	struct pinhole_region *region = &cmd->dev->region;

	if (atomic_dec_and_test(&region->unmapping))
		wake_up(&region->idle);
}

/* Has the device unmap a plane. Nobody waits for it here. */
static void pinhole_plane_unmap(struct pinhole_plane *plane)
{
	atomic_inc(&plane->mem.dev->region.unmapping);
	pinhole_cmd_submit(plane->munmap);
}

/* Maps the next plane that videobuf2 asks for: they are asked for in order. */
static int pinhole_plane_map(struct pinhole_plane *plane, unsigned long size)
{
	const unsigned int num_planes = plane->mem.stream->num_planes;
	struct pinhole_device *dev = plane->mem.dev;
	struct pinhole_region *region = &dev->region;
	struct virtio_media_cmd_munmap *req;
	u64 addr, len;
	u32 offset;
	int ret;

	lockdep_assert_held(&dev->commands.mutex);
	ret = pinhole_fault(dev);
	if (!ret && !pinhole_region_has_buffers(dev))
		ret = -EIO;
	if (!ret)
		ret = pinhole_region_query(dev, region->next / num_planes,
					   region->next % num_planes, &offset);
	if (!ret)
		ret = pinhole_region_map(dev, offset, &addr, &len);
	if (ret)
		return ret;

	req = plane->munmap->req;
	req->hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_MUNMAP);
	req->driver_addr = cpu_to_le64(addr);
	if (!pinhole_region_fits(region, addr, len, size)) {
		pinhole_plane_unmap(plane);
		return pinhole_nonsense(dev, VIDIOC_QUERYBUF);
	}
	plane->phys = region->shm.addr + addr;
	plane->epoch = READ_ONCE(region->epoch);
	/*
	 * For read(), and so that x86 knows of the memory's type, which is that of
	 * programs' mappings, too.
	 */
	plane->mem.vaddr = memremap(plane->phys, PAGE_ALIGN(size),
				    MEMREMAP_WB);
	if (!plane->mem.vaddr) {
		pinhole_plane_unmap(plane);
		return -ENOMEM;
	}
	return 0;
}

/*
 * The last user has gone. No command tells a device of a mapping that ended with
 * all others: another may be in its place. Who ends those finds the plane in the
 * list, or its MUNMAP submitted.
 */
static void pinhole_plane_release(struct pinhole_plane *plane)
{
	struct pinhole_device *dev = plane->mem.dev;
	struct pinhole_region *region = &dev->region;

	if (!refcount_dec_and_test(&plane->users))
		return;
	mutex_lock(&region->lock);
	list_del(&plane->node);
	if (plane->epoch == region->epoch)
		pinhole_plane_unmap(plane);
	mutex_unlock(&region->lock);

	memunmap(plane->mem.vaddr);
	pinhole_cmd_put(plane->munmap);
	kfree(plane);
	v4l2_device_put(&dev->v4l2_dev);
}

/* Memory for the next plane of the buffers that videobuf2 has asked for. */
struct pinhole_mem *pinhole_region_alloc(struct pinhole_stream *stream,
					 unsigned long size)
{
	struct pinhole_device *dev = stream->dev;
	struct pinhole_region *region = &dev->region;
	struct pinhole_plane *plane;
	int ret = -ENOMEM;

	plane = kzalloc(sizeof(*plane), GFP_KERNEL);
	if (!plane)
		goto err_none;
	plane->munmap = pinhole_cmd_alloc(dev,
					  sizeof(struct virtio_media_cmd_munmap),
					  sizeof(struct virtio_media_resp_header),
					  0);
	if (IS_ERR(plane->munmap)) {
		ret = PTR_ERR(plane->munmap);
		goto err_free;
	}
	plane->munmap->complete = pinhole_munmap_complete;
	plane->mem.dev = dev;
	plane->mem.stream = stream;
	plane->mem.own = true;
	plane->mem.size = size;
	refcount_set(&plane->users, 1);

	/* Who ends all mappings is either before it or sees it. */
	mutex_lock(&dev->commands.mutex);
	ret = pinhole_plane_map(plane, size);
	if (!ret) {
		mutex_lock(&region->lock);
		list_add(&plane->node, &region->mapped);
		mutex_unlock(&region->lock);
	}
	mutex_unlock(&dev->commands.mutex);
	if (ret)
		goto err_cmd;
	/* Programs may keep it for longer than videobuf2 is there. */
	v4l2_device_get(&dev->v4l2_dev);
	region->next++;
	region->held++;
	return &plane->mem;

err_cmd:
	pinhole_cmd_put(plane->munmap);
err_free:
	kfree(plane);
err_none:
	pinhole_region_free(dev);
	return ERR_PTR(ret);
}

/* videobuf2 gives a plane back. With the last, the device is to free them all. */
void pinhole_region_put(struct pinhole_mem *mem)
{
	struct pinhole_device *dev = mem->dev;

	dev->region.held--;
	pinhole_region_free(dev);
	pinhole_plane_release(to_pinhole_plane(mem));
}

unsigned int pinhole_region_num_users(struct pinhole_mem *mem)
{
	return refcount_read(&to_pinhole_plane(mem)->users);
}

static void pinhole_plane_vm_open(struct vm_area_struct *vma)
{
	struct pinhole_plane *plane = vma->vm_private_data;
	struct pinhole_region *region = &plane->mem.dev->region;

	refcount_inc(&plane->users);
	mutex_lock(&region->lock);
	plane->vmas++;
	mutex_unlock(&region->lock);
}

static void pinhole_plane_vm_close(struct vm_area_struct *vma)
{
	struct pinhole_plane *plane = vma->vm_private_data;
	struct pinhole_region *region = &plane->mem.dev->region;

	mutex_lock(&region->lock);
	if (!--plane->vmas)
		plane->inode = NULL;
	mutex_unlock(&region->lock);
	pinhole_plane_release(plane);
}

/* A program touches a page; SIGBUS if all mappings were ended. */
static vm_fault_t pinhole_plane_vm_fault(struct vm_fault *vmf)
{
	struct pinhole_plane *plane = vmf->vma->vm_private_data;
	struct pinhole_region *region = &plane->mem.dev->region;
	vm_fault_t ret = VM_FAULT_SIGBUS;

	mutex_lock(&region->lock);
	if (plane->epoch == region->epoch)
		ret = vmf_insert_pfn(vmf->vma, vmf->address,
				     PHYS_PFN(plane->phys) + vmf->pgoff -
				     PINHOLE_REGION_PGOFF);
	mutex_unlock(&region->lock);
	return ret;
}

static const struct vm_operations_struct pinhole_plane_vm_ops = {
	.open = pinhole_plane_vm_open,
	.close = pinhole_plane_vm_close,
	.fault = pinhole_plane_vm_fault,
};

/*
 * Maps a plane into a program, as memory that is not the kernel's. Who ends all
 * mappings finds them through their inode, so that there may be only one at a time.
 */
int pinhole_region_mmap(struct pinhole_mem *mem, struct vm_area_struct *vma)
{
	struct pinhole_plane *plane = to_pinhole_plane(mem);
	struct pinhole_region *region = &plane->mem.dev->region;
	struct inode *inode = file_inode(vma->vm_file);
	int ret = 0;

	if (vma->vm_end - vma->vm_start > PAGE_ALIGN(plane->mem.size))
		return -EINVAL;
	mutex_lock(&region->lock);
	if (plane->inode && plane->inode != inode) {
		ret = -EBUSY;
	} else {
		plane->inode = inode;
		plane->vmas++;
	}
	mutex_unlock(&region->lock);
	if (ret)
		return ret;
	refcount_inc(&plane->users);
	pinhole_vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND |
				  VM_DONTDUMP);
	/* It was the offset that stands for the buffer. */
	vma->vm_pgoff = PINHOLE_REGION_PGOFF;
	vma->vm_private_data = plane;
	vma->vm_ops = &pinhole_plane_vm_ops;
	return 0;
}

/*
 * Ends all mappings of programs; and has the device end its own, if it is asked to
 * and not reset.
 */
static void pinhole_region_end(struct pinhole_device *dev, bool ask)
{
	struct pinhole_region *region = &dev->region;
	struct pinhole_plane *plane;

	lockdep_assert_held(&dev->commands.mutex);
	mutex_lock(&region->lock);
	list_for_each_entry(plane, &region->mapped, node) {
		if (plane->inode)
			unmap_mapping_range(plane->inode->i_mapping,
					    (loff_t)PINHOLE_REGION_PGOFF <<
					    PAGE_SHIFT, 0, 1);
		if (ask && plane->epoch == region->epoch)
			pinhole_plane_unmap(plane);
	}
	WRITE_ONCE(region->epoch, region->epoch + 1);
	mutex_unlock(&region->lock);
}

/* The device is going to be reset: nothing is mapped any more after that. */
void pinhole_region_reset(struct pinhole_device *dev)
{
	pinhole_region_end(dev, false);
}

/*
 * The device is going to be reset for good, and may respond. QEMU (11.1.3) crashes
 * when a device is reset that has something mapped.
 */
void pinhole_region_leave(struct pinhole_device *dev)
{
	struct pinhole_region *region = &dev->region;

	pinhole_region_end(dev, true);
	wait_event_timeout(region->idle,
			   !atomic_read(&region->unmapping) ||
			   pinhole_fault(dev), pinhole_timeout());
}

/* Whether the region is there, of whole pages, and no memory of the kernel's. */
static bool pinhole_region_is_sound(const struct virtio_shm_region *shm)
{
	return PAGE_ALIGNED(shm->addr) && shm->len &&
	       shm->addr + shm->len > shm->addr &&
	       region_intersects(shm->addr, shm->len, IORESOURCE_SYSTEM_RAM,
				 IORES_DESC_NONE) == REGION_DISJOINT;
}

/**
 * pinhole_region_find() - look for memory of the device's own
 * @dev: device whose queue is initialised, and used by nobody yet
 * @only: the device takes no buffers in the guest's memory
 *
 * Return: False if the device has no region that is fit for buffers.
 */
bool pinhole_region_find(struct pinhole_device *dev, bool only)
{
	struct pinhole_region *region = &dev->region;

	if (!virtio_get_shm_region(dev->vdev, &region->shm,
				   VIRTIO_MEDIA_SHM_MMAP) ||
	    !pinhole_region_is_sound(&region->shm))
		return false;
	region->found = true;
	region->only = only;
	if (only)
		dev->context.streams[0].queue.io_modes = VB2_MMAP | VB2_READ;
	return true;
}

/* Whether MMAP buffers that are made now are to be the device's. */
bool pinhole_region_is_wanted(const struct pinhole_device *dev)
{
	return dev->region.only ||
	       (dev->region.found && READ_ONCE(device_memory));
}

/**
 * pinhole_region_choose() - decide whose memory the buffers are in
 * @stream: stream whose queue has no MMAP buffers
 * @all: all buffers are about to be made, as the device makes its own
 *
 * Context: Process context, under queue_mutex.
 */
void pinhole_region_choose(struct pinhole_stream *stream, bool all)
{
	struct pinhole_device *dev = stream->dev;
	struct pinhole_region *region = &dev->region;
	bool mmap = stream->queue.memory == VB2_MEMORY_MMAP;
	bool wanted = region->only || (all && pinhole_region_is_wanted(dev));

	if (mmap && !region->found && READ_ONCE(device_memory))
		dev_warn_once(&dev->vdev->dev,
			      "device has no fit shared memory region: the buffers are in guest memory\n");
	mutex_lock(&region->lock);
	region->used = mmap && wanted;
	mutex_unlock(&region->lock);
}

/*
 * Whether the device has something mapped, or is about to be asked to. After a fault
 * it is not asked, so that the answer no stays true if there is one before the lock
 * is released.
 */
bool pinhole_region_is_in_use(struct pinhole_device *dev)
{
	struct pinhole_region *region = &dev->region;
	struct pinhole_plane *plane;

	lockdep_assert_held(&region->lock);
	list_for_each_entry(plane, &region->mapped, node)
		if (plane->epoch == region->epoch)
			return true;
	return region->used || atomic_read(&region->unmapping);
}

void pinhole_region_init(struct pinhole_device *dev)
{
	mutex_init(&dev->region.lock);
	INIT_LIST_HEAD(&dev->region.mapped);
	atomic_set(&dev->region.unmapping, 0);
	init_waitqueue_head(&dev->region.idle);
}

/* Nothing is mapped any more. */
void pinhole_region_exit(struct pinhole_device *dev)
{
	mutex_destroy(&dev->region.lock);
}
