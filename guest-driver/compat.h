/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between kernels 5.10 and 7.3. No other file of the driver asks for
 * a version.
 */
#ifndef PINHOLE_COMPAT_H
#define PINHOLE_COMPAT_H

#include <linux/dma-buf.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/version.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <media/v4l2-dev.h>
#include <media/v4l2-fh.h>
#include <media/videobuf2-dma-sg.h>
#include <media/videobuf2-v4l2.h>
#include <media/videobuf2-vmalloc.h>

/* Whether the kernel is at least of this version. */
#define PINHOLE_KERNEL(major, minor) \
	(LINUX_VERSION_CODE >= KERNEL_VERSION(major, minor, 0))

#if PINHOLE_KERNEL(5, 12)
#include <media/frame_vector.h>
#endif

/* A kernel may be built without it; that of the other two models is asked for. */
#if IS_REACHABLE(CONFIG_VIDEOBUF2_DMA_CONTIG)
#include <media/videobuf2-dma-contig.h>
#define PINHOLE_DMA_CONTIG_MEMOPS (&vb2_dma_contig_memops)
#else
#define PINHOLE_DMA_CONTIG_MEMOPS NULL
#endif

/* Its name since 6.17; later kernels warn of the use of the one before. */
#if !PINHOLE_KERNEL(6, 17)
#define system_percpu_wq system_wq
#endif

/* --- virtio ------------------------------------------------------------- */

/**
 * pinhole_find_vqs() - find the command and the event queue
 * @vdev: virtio device
 * @vqs: where the two queues are stored
 * @command_cb: called when a command was answered
 * @event_cb: called when an event has arrived
 *
 * virtio_find_vqs() takes an array of structures since 6.11.
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
static inline int pinhole_find_vqs(struct virtio_device *vdev,
				   struct virtqueue *vqs[2],
				   vq_callback_t *command_cb,
				   vq_callback_t *event_cb)
{
#if PINHOLE_KERNEL(6, 11)
	struct virtqueue_info info[2] = {
		{ .name = "command", .callback = command_cb },
		{ .name = "event", .callback = event_cb },
	};

	return virtio_find_vqs(vdev, 2, vqs, info, NULL);
#else
	vq_callback_t *callbacks[2] = { command_cb, event_cb };
	static const char * const names[2] = { "command", "event" };

	return virtio_find_vqs(vdev, 2, vqs, callbacks, names, NULL);
#endif
}

/**
 * pinhole_reset_device() - reset the device
 * @vdev: virtio device
 *
 * The function has a name of its own since 5.17.
 *
 * Context: Process context. May wait for the machine monitor.
 * The device touches no memory after it.
 */
static inline void pinhole_reset_device(struct virtio_device *vdev)
{
#if PINHOLE_KERNEL(5, 17)
	virtio_reset_device(vdev);
#else
	vdev->config->reset(vdev);
#endif
}

/* --- dma-buf ------------------------------------------------------------ */

/* The symbols are in a namespace since 5.16, named by a string since 6.13. */
#if PINHOLE_KERNEL(6, 13)
#define PINHOLE_IMPORT_DMA_BUF MODULE_IMPORT_NS("DMA_BUF")
#else
#define PINHOLE_IMPORT_DMA_BUF MODULE_IMPORT_NS(DMA_BUF)
#endif

/* --- frame vectors ------------------------------------------------------ */

/**
 * pinhole_get_vaddr_frames() - pin a range of the caller's memory
 * @start: first address
 * @nr: number of pages
 * @write: the device will write to the pages
 * @vec: frame vector with room for @nr pages
 *
 * From 5.12 to 6.1 the kernel always asks for write access, by force where the mapping
 * is read-only. Since 6.2 it asks for write access where @write says so. 5.10 takes
 * GUP flags; a pin for reading does not do there, for it may be of a page that the
 * process shares, with a child or as the zero page, and has another in place of when
 * it writes next. So it is asked as later kernels ask.
 *
 * Context: Process context, of the process whose memory it is.
 * Return: Number of pages, which may be fewer than @nr, or a negative errno.
 */
static inline int pinhole_get_vaddr_frames(unsigned long start, unsigned int nr,
					   bool write, struct frame_vector *vec)
{
#if PINHOLE_KERNEL(6, 2)
	return get_vaddr_frames(start, nr, write, vec);
#elif PINHOLE_KERNEL(5, 12)
	return get_vaddr_frames(start, nr, vec);
#else
	return get_vaddr_frames(start, nr,
				write ? FOLL_WRITE : FOLL_FORCE | FOLL_WRITE,
				vec);
#endif
}

/* --- pages -------------------------------------------------------------- */

/**
 * pinhole_page_maybe_pinned() - whether a page may be pinned for DMA
 * @page: page
 *
 * It is asked of the folio since 5.18, and only of it since 6.12.
 *
 * Context: Any.
 * Return: Whether it may be.
 */
static inline bool pinhole_page_maybe_pinned(struct page *page)
{
#if PINHOLE_KERNEL(5, 18)
	return folio_maybe_dma_pinned(page_folio(page));
#else
	return page_maybe_dma_pinned(page);
#endif
}

/**
 * pinhole_unpin_pages() - unpin pages
 * @pages: pages that follow one another in memory
 * @nr: number of pages
 * @dirty: they are to be marked dirty before
 *
 * A folio that is dirty is not marked again, nor its lock taken. Since 5.13 there
 * is a function for pages that follow one another, whose work is one step a folio;
 * before, it is one step a page.
 *
 * Context: Process context. Takes folios' locks.
 */
static inline void pinhole_unpin_pages(struct page **pages, unsigned int nr,
				       bool dirty)
{
#if PINHOLE_KERNEL(5, 13)
	unpin_user_page_range_dirty_lock(pages[0], nr, dirty);
#else
	unpin_user_pages_dirty_lock(pages, nr, dirty);
#endif
}

/**
 * pinhole_vm_flags_set() - set flags of a mapping that is being made
 * @vma: mapping
 * @flags: VM_* to set
 *
 * The flags are written to by a function since 6.3.
 *
 * Context: Process context, under the mmap lock for writing.
 */
static inline void pinhole_vm_flags_set(struct vm_area_struct *vma,
					unsigned long flags)
{
#if PINHOLE_KERNEL(6, 3)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

/* --- videobuf2 ---------------------------------------------------------- */

/* The queue's lock is dropped by videobuf2 itself since 6.13. */
#if PINHOLE_KERNEL(6, 13)
#define PINHOLE_VB2_WAIT_OPS
#else
#define PINHOLE_VB2_WAIT_OPS					\
	.wait_prepare = vb2_ops_wait_prepare,			\
	.wait_finish = vb2_ops_wait_finish,
#endif

/* VIDIOC_REMOVE_BUFS came with 6.10. */
#if PINHOLE_KERNEL(6, 10)
#define PINHOLE_REMOVE_BUFS_OP					\
	.vidioc_remove_bufs = vb2_ioctl_remove_bufs,
#define PINHOLE_DISABLE_REMOVE_BUFS(video)			\
	v4l2_disable_ioctl(video, VIDIOC_REMOVE_BUFS)
#else
#define PINHOLE_REMOVE_BUFS_OP
#define PINHOLE_DISABLE_REMOVE_BUFS(video) ((void)(video))
#endif

/**
 * pinhole_set_min_queued() - set how many buffers a stream needs to start
 * @q: queue
 * @count: number of buffers
 *
 * The field was renamed in 6.8.
 */
static inline void pinhole_set_min_queued(struct vb2_queue *q, unsigned int count)
{
#if PINHOLE_KERNEL(6, 8)
	q->min_queued_buffers = count;
#else
	q->min_buffers_needed = count;
#endif
}

/**
 * pinhole_poll() - say what can be done with a file, and when to ask again
 * @file: file
 * @wait: table of those who wait
 *
 * Before 5.11 vb2_fop_poll() of a queue that does not stream yet does not wait
 * on it, so that epoll(7), which asks only once where to wait, never heard of a
 * stream that began after EPOLL_CTL_ADD.
 *
 * Context: Process context.
 * Return: EPOLL* flags.
 */
static inline __poll_t pinhole_poll(struct file *file, poll_table *wait)
{
#if !PINHOLE_KERNEL(5, 11)
	poll_wait(file, &video_devdata(file)->queue->done_wq, wait);
#endif
	return vb2_fop_poll(file, wait);
}

/* As pinhole_poll(), of one of a file's queues, and without write() or read(). */
static inline __poll_t pinhole_poll_queue(struct file *file, struct vb2_queue *q,
					  poll_table *wait)
{
#if !PINHOLE_KERNEL(5, 11)
	poll_wait(file, &q->done_wq, wait);
#endif
	return vb2_poll(q, file, wait);
}

/* --- files -------------------------------------------------------------- */

/**
 * pinhole_fh_add() - a file has this handle
 * @fh: handle
 * @file: file that is being opened
 *
 * The file is passed since 6.18.
 */
static inline void pinhole_fh_add(struct v4l2_fh *fh, struct file *file)
{
#if PINHOLE_KERNEL(6, 18)
	v4l2_fh_add(fh, file);
#else
	file->private_data = fh;
	v4l2_fh_add(fh);
#endif
}

/* The file is being closed. */
static inline void pinhole_fh_del(struct v4l2_fh *fh, struct file *file)
{
#if PINHOLE_KERNEL(6, 18)
	v4l2_fh_del(fh, file);
#else
	v4l2_fh_del(fh);
#endif
}

/* --- memory operations -------------------------------------------------- */

/*
 * They are written against the prototypes of 5.16, which pass the vb2_buffer. Before,
 * they were passed what they need of the queue instead, such as the direction of its
 * DMA; this driver knows its stream by the device that it has videobuf2 pass.
 */
void *pinhole_mem_alloc(struct vb2_buffer *vb, struct device *mem_dev,
			unsigned long size);
void *pinhole_mem_get_userptr(struct vb2_buffer *vb, struct device *mem_dev,
			      unsigned long vaddr, unsigned long size);
void *pinhole_mem_attach_dmabuf(struct vb2_buffer *vb, struct device *mem_dev,
				struct dma_buf *dbuf, unsigned long size);
struct dma_buf *pinhole_mem_get_dmabuf(struct vb2_buffer *vb, void *priv,
				       unsigned long flags);
void *pinhole_mem_vaddr(struct vb2_buffer *vb, void *priv);
void *pinhole_mem_cookie(struct vb2_buffer *vb, void *priv);

#if PINHOLE_KERNEL(5, 16)

#define PINHOLE_MEM_OP(name) pinhole_mem_##name

/* The direction is that of the buffer's queue. */
#define pinhole_ops_alloc(ops, vb, dev, size, dir) \
	((ops)->alloc(vb, dev, size))
#define pinhole_ops_get_userptr(ops, vb, dev, vaddr, size, dir) \
	((ops)->get_userptr(vb, dev, vaddr, size))
#define pinhole_ops_attach_dmabuf(ops, vb, dev, dbuf, size, dir) \
	((ops)->attach_dmabuf(vb, dev, dbuf, size))
#define pinhole_ops_get_dmabuf(ops, vb, priv, flags) \
	((ops)->get_dmabuf(vb, priv, flags))
#define pinhole_ops_vaddr(ops, vb, priv) \
	((ops)->vaddr(vb, priv))
#define pinhole_ops_cookie(ops, vb, priv) \
	((ops)->cookie(vb, priv))

#else

#define PINHOLE_MEM_OP(name) pinhole_old_##name

static inline void *pinhole_old_alloc(struct device *dev, unsigned long attrs,
				      unsigned long size,
				      enum dma_data_direction dir, gfp_t gfp)
{
	return pinhole_mem_alloc(NULL, dev, size);
}

static inline void *pinhole_old_get_userptr(struct device *dev,
					    unsigned long vaddr,
					    unsigned long size,
					    enum dma_data_direction dir)
{
	return pinhole_mem_get_userptr(NULL, dev, vaddr, size);
}

static inline void *pinhole_old_attach_dmabuf(struct device *dev,
					      struct dma_buf *dbuf,
					      unsigned long size,
					      enum dma_data_direction dir)
{
	return pinhole_mem_attach_dmabuf(NULL, dev, dbuf, size);
}

static inline struct dma_buf *pinhole_old_get_dmabuf(void *priv,
						     unsigned long flags)
{
	return pinhole_mem_get_dmabuf(NULL, priv, flags);
}

static inline void *pinhole_old_vaddr(void *priv)
{
	return pinhole_mem_vaddr(NULL, priv);
}

static inline void *pinhole_old_cookie(void *priv)
{
	return pinhole_mem_cookie(NULL, priv);
}

#define pinhole_ops_alloc(ops, vb, dev, size, dir) \
	((ops)->alloc(dev, 0, size, dir, 0))
#define pinhole_ops_get_userptr(ops, vb, dev, vaddr, size, dir) \
	((ops)->get_userptr(dev, vaddr, size, dir))
#define pinhole_ops_attach_dmabuf(ops, vb, dev, dbuf, size, dir) \
	((ops)->attach_dmabuf(dev, dbuf, size, dir))
#define pinhole_ops_get_dmabuf(ops, vb, priv, flags) \
	((ops)->get_dmabuf(priv, flags))
#define pinhole_ops_vaddr(ops, vb, priv) \
	((ops)->vaddr(priv))
#define pinhole_ops_cookie(ops, vb, priv) \
	((ops)->cookie(priv))

#endif

#endif /* PINHOLE_COMPAT_H */
