/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions whose calls the linker leads elsewhere: calls of NAME go to
 * __wrap_NAME, and NAME itself is __real_NAME.
 */
#ifndef PINHOLE_MUTANT_SEAMS_H
#define PINHOLE_MUTANT_SEAMS_H

#include "pinhole.h"

#if PINHOLE_KERNEL(6, 2)
int __real_get_vaddr_frames(unsigned long start, unsigned int nr, bool write,
			    struct frame_vector *vec);
int __wrap_get_vaddr_frames(unsigned long start, unsigned int nr, bool write,
			    struct frame_vector *vec);
#elif PINHOLE_KERNEL(5, 12)
int __real_get_vaddr_frames(unsigned long start, unsigned int nr,
			    struct frame_vector *vec);
int __wrap_get_vaddr_frames(unsigned long start, unsigned int nr,
			    struct frame_vector *vec);
#else
int __real_get_vaddr_frames(unsigned long start, unsigned int nr,
			    unsigned int flags, struct frame_vector *vec);
int __wrap_get_vaddr_frames(unsigned long start, unsigned int nr,
			    unsigned int flags, struct frame_vector *vec);
#endif
#if PINHOLE_KERNEL(5, 13)
void __real_unpin_user_page_range_dirty_lock(struct page *page,
					     unsigned long nr, bool dirty);
void __wrap_unpin_user_page_range_dirty_lock(struct page *page,
					     unsigned long nr, bool dirty);
#else
void __real_unpin_user_pages_dirty_lock(struct page **pages, unsigned long nr,
					bool dirty);
void __wrap_unpin_user_pages_dirty_lock(struct page **pages, unsigned long nr,
					bool dirty);
#endif
void *__real_pinhole_mem_get_userptr(struct vb2_buffer *vb, struct device *dev,
				     unsigned long vaddr, unsigned long size);
void *__wrap_pinhole_mem_get_userptr(struct vb2_buffer *vb, struct device *dev,
				     unsigned long vaddr, unsigned long size);
int __real_pinhole_mem_segments(struct pinhole_mem *mem, size_t length,
				struct virtio_media_sg_entry *entries,
				unsigned int max);
int __wrap_pinhole_mem_segments(struct pinhole_mem *mem, size_t length,
				struct virtio_media_sg_entry *entries,
				unsigned int max);
void __real_pinhole_pinned_prepare(struct pinhole_mem *mem);
void __wrap_pinhole_pinned_prepare(struct pinhole_mem *mem);
void __real_pinhole_pinned_finish(struct pinhole_mem *mem);
void __wrap_pinhole_pinned_finish(struct pinhole_mem *mem);
void __real_pinhole_unpin(struct pinhole_mem *mem);
void __wrap_pinhole_unpin(struct pinhole_mem *mem);
void __real_pinhole_cmd_submit(struct pinhole_cmd *cmd);
void __wrap_pinhole_cmd_submit(struct pinhole_cmd *cmd);
bool __real_pinhole_buffer_returned(struct pinhole_device *dev, u32 session_id,
				    const struct virtio_media_event_dqbuf *event,
				    u32 used);
bool __wrap_pinhole_buffer_returned(struct pinhole_device *dev, u32 session_id,
				    const struct virtio_media_event_dqbuf *event,
				    u32 used);
void __real_pinhole_cmd_release(struct pinhole_cmd *cmd);
void __wrap_pinhole_cmd_release(struct pinhole_cmd *cmd);
void __real_pinhole_events_drain(struct pinhole_device *dev);
void __wrap_pinhole_events_drain(struct pinhole_device *dev);
int __real_vb2_ioctl_dqbuf(struct file *file, void *priv,
			   struct v4l2_buffer *b);
int __wrap_vb2_ioctl_dqbuf(struct file *file, void *priv,
			   struct v4l2_buffer *b);
int __real_pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f);
int __wrap_pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f);
int __real_virtqueue_add_sgs(struct virtqueue *vq, struct scatterlist *sgs[],
			     unsigned int out, unsigned int in, void *data,
			     gfp_t gfp);
int __wrap_virtqueue_add_sgs(struct virtqueue *vq, struct scatterlist *sgs[],
			     unsigned int out, unsigned int in, void *data,
			     gfp_t gfp);

#endif /* PINHOLE_MUTANT_SEAMS_H */
