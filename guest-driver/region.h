/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Buffers in the device's own memory: MMAP buffers on the wire, which the device
 * shows in its shared memory region.
 */
#ifndef PINHOLE_REGION_H
#define PINHOLE_REGION_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>

struct pinhole_device;
struct pinhole_mem;
struct pinhole_stream;
struct vm_area_struct;

/**
 * struct pinhole_region - the device's shared memory region, and what lies in it
 * @found: the device shows a region that is fit for buffers; fixed by the probe, like
 *	   what follows up to @used
 * @only: the device takes no buffers in the guest's memory
 * @shm: where the region is in the guest's physical memory
 * @used: the buffers are the device's, not the guest's; decided when there are none
 *	  (under queue_mutex, like what follows up to @lock, and changed under
 *	  @lock, too)
 * @session: session that has the buffers, by its number in @opened
 * @made: @epoch when it made them
 * @count: number of buffers that the device has
 * @next: number of planes that have been mapped since it made them
 * @held: number of those that videobuf2 has not given back
 * @lock: guards what follows up to @unmapping; taken under the lock of a process's
 *	  mappings, so that nobody waits for the device under it
 * @mapped: planes that are mapped into the region
 * @epoch: number of times that all mappings were ended, as before a reset
 * @unmapping: number of MUNMAP commands that are not answered
 * @idle: woken when @unmapping falls to 0
 */
struct pinhole_region {
	bool found;
	bool only;
	struct virtio_shm_region shm;
	bool used;
	u32 session;
	unsigned int made;
	unsigned int count;
	unsigned int next;
	unsigned int held;
	struct mutex lock; /* what is mapped */
	struct list_head mapped;
	unsigned int epoch;
	atomic_t unmapping;
	wait_queue_head_t idle;
};

/* region.c */
void pinhole_region_init(struct pinhole_device *dev);
void pinhole_region_exit(struct pinhole_device *dev);
bool pinhole_region_find(struct pinhole_device *dev, bool only);
bool pinhole_region_is_wanted(const struct pinhole_device *dev);
bool pinhole_region_is_in_use(struct pinhole_device *dev);
void pinhole_region_choose(struct pinhole_stream *stream, bool all);
int pinhole_region_request(struct pinhole_device *dev, unsigned int *count);
bool pinhole_region_has_buffers(struct pinhole_device *dev);
void pinhole_region_free(struct pinhole_device *dev);
void pinhole_region_reset(struct pinhole_device *dev);
void pinhole_region_leave(struct pinhole_device *dev);
struct pinhole_mem *pinhole_region_alloc(struct pinhole_stream *stream,
					 unsigned long size);
void pinhole_region_put(struct pinhole_mem *mem);
unsigned int pinhole_region_num_users(struct pinhole_mem *mem);
int pinhole_region_mmap(struct pinhole_mem *mem, struct vm_area_struct *vma);

#endif /* PINHOLE_REGION_H */
