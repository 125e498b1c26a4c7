/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Buffers in the device's own memory: MMAP buffers on the wire, which the device
 * shows in its shared memory region.
 */
#ifndef PINHOLE_REGION_H
#define PINHOLE_REGION_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/virtio_config.h>

struct pinhole_device;

/**
 * struct pinhole_region - the device's shared memory region, and what lies in it
 * @used: the buffers are the device's, not the guest's; fixed by the probe
 * @shm: where the region is in the guest's physical memory
 * @session: session that has the buffers (under stream.queue_mutex, like what
 *	     follows up to @lock)
 * @count: number of buffers that the device has
 * @next: number of planes that have been mapped since it made them
 * @held: number of those that videobuf2 has not given back
 * @lock: guards @mapped and @resets
 * @mapped: planes that are mapped into the region
 * @resets: number of times that all mappings were ended, as by a reset
 */
struct pinhole_region {
	bool used;
	struct virtio_shm_region shm;
	u32 session;
	unsigned int count;
	unsigned int next;
	unsigned int held;
	struct mutex lock; /* what is mapped */
	struct list_head mapped;
	unsigned int resets;
};

/* region.c */
void pinhole_region_init(struct pinhole_device *dev);
void pinhole_region_exit(struct pinhole_device *dev);
bool pinhole_region_use(struct pinhole_device *dev);
int pinhole_region_request(struct pinhole_device *dev, unsigned int *count);
void pinhole_region_reset(struct pinhole_device *dev);
void pinhole_region_leave(struct pinhole_device *dev);

#endif /* PINHOLE_REGION_H */
