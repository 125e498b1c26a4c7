/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commands to the device, the queue that they go through, and the fault that
 * ends all use of the device.
 */
#ifndef PINHOLE_TRANSPORT_H
#define PINHOLE_TRANSPORT_H

#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/workqueue.h>

#include "virtio_media.h"

struct pinhole_buffer;
struct pinhole_device;
struct pinhole_session;
struct pinhole_stream;

/**
 * struct pinhole_ring - a virtqueue
 * @lock: serialises the use of @vq. Taken with interrupts off.
 * @vq: the virtqueue; NULL before it was found and after it was taken down
 */
struct pinhole_ring {
	spinlock_t lock; /* the virtqueue */
	struct virtqueue *vq;
};

/**
 * pinhole_ring_unlock() - release a ring, and notify the device if need be
 * @ring: ring
 * @flags: interrupt flags
 * @added: something was added to the ring
 *
 * The notification is an exit to the hypervisor, and done without the lock. The
 * virtqueue is freed after a grace period of RCU, so that it is there for it.
 */
static inline void pinhole_ring_unlock(struct pinhole_ring *ring,
				       unsigned long flags, bool added)
	__releases(&ring->lock)
{
	struct virtqueue *vq = ring->vq;
	bool notify = added && virtqueue_kick_prepare(vq);

	rcu_read_lock();
	spin_unlock_irqrestore(&ring->lock, flags);
	if (notify)
		virtqueue_notify(vq);
	rcu_read_unlock();
}

/**
 * struct pinhole_cmd - one command and the room for its response
 * @ref: the owner has one reference; the ring has another from submission until
 *	 the command was answered or taken back
 * @dev: the device
 * @node: entry in the pending or the inflight list
 * @dead: entry in the list of commands that are to be freed
 * @since: when it was put in the virtqueue, in jiffies
 * @req: what the device reads: the command and its payload
 * @req_len: length of @req in bytes
 * @resp: what the device writes; NULL for a command without response
 * @resp_len: length of @resp in bytes
 * @entries: scatter entries that follow @req; NULL for none
 * @num_entries: number of @entries
 * @req_sg: describes @req
 * @resp_sg: describes @resp
 * @entries_sgt: describes @entries
 * @used: number of bytes that the device says it wrote to @resp
 * @result: 0 or a negative errno; 1 until it is known
 * @garbled: the response is malformed: what became of the command is not known
 * @complete: called when @result is known, with the ring's lock held; or NULL
 * @done: completed then, and when the fault is set
 * @buf: buffer that the command queues; NULL for other commands
 * @session: the session that it queues it in
 * @data: what the entries describe, if it is the command's own; or NULL
 * @data_len: length of @data in bytes
 * @data_addr: DMA address of @data
 * @data_mapped: @data is mapped by the DMA API
 */
struct pinhole_cmd {
	struct kref ref;
	struct pinhole_device *dev;
	struct list_head node;
	struct llist_node dead;
	unsigned long since;
	void *req;
	size_t req_len;
	void *resp;
	size_t resp_len;
	struct virtio_media_sg_entry *entries;
	unsigned int num_entries;
	struct scatterlist req_sg;
	struct scatterlist resp_sg;
	struct sg_table entries_sgt;
	u32 used;
	int result;
	bool garbled;
	void (*complete)(struct pinhole_cmd *cmd);
	struct completion done;
	struct pinhole_buffer *buf;
	struct pinhole_session *session;
	void *data;
	size_t data_len;
	dma_addr_t data_addr;
	bool data_mapped;
};

/**
 * struct pinhole_piece - what a pointer of an ioctl's payload points to
 * @data: data that the device reads, or writes
 * @length: their length in bytes, not 0
 */
struct pinhole_piece {
	void *data;
	u32 length;
};

/**
 * struct pinhole_commands - the command queue
 * @mutex: one synchronous command at a time; guards the sessions, and when the device
 *	   is reset and set up anew
 * @ring: its virtqueue; its lock guards what follows
 * @slots: number of descriptors
 * @pending: commands that wait for room in the virtqueue
 * @inflight: commands in the virtqueue, oldest first
 * @fault: 0; -EIO once the device was given up, until it is set up anew;
 *	   -ESHUTDOWN while it sleeps or is shut down; -ENODEV once it is removed
 * @quiet: the device was given up before and has not been of use since, so that
 *	   another fault is no news (under commands.mutex)
 * @heard: when the device last gave a sign of life, in jiffies
 * @silent: there was none for long when it was given up: it may be gone
 * @dead: commands that are to be freed
 * @reaper: frees them
 * @complaints: ioctls whose malformed response has been logged
 */
struct pinhole_commands {
	struct mutex mutex; /* one synchronous command at a time */
	struct pinhole_ring ring;
	unsigned int slots;
	struct list_head pending;
	struct list_head inflight;
	int fault;
	bool quiet;
	unsigned long heard;
	bool silent;
	struct llist_head dead;
	struct work_struct reaper;
	DECLARE_BITMAP(complaints, 256);
};

/**
 * pinhole_is_local() - whether an error says nothing of the device
 * @ret: negative errno
 *
 * Return: True if memory was short, or whoever waited was killed.
 */
static inline bool pinhole_is_local(int ret)
{
	return ret == -ENOMEM || ret == -ERESTARTSYS;
}

/* command.c */
void pinhole_fill_ioctl(void *req, u32 session_id, unsigned int cmd);
struct pinhole_cmd *pinhole_cmd_alloc(struct pinhole_device *dev, size_t req_len,
				      size_t resp_len, unsigned int num_entries);
int pinhole_cmd_attach(struct pinhole_cmd *cmd,
		       const struct pinhole_piece *pieces);
void pinhole_cmd_fetch(struct pinhole_cmd *cmd,
		       const struct pinhole_piece *pieces);
void pinhole_cmd_free_later(struct kref *ref);
void pinhole_commands_reap(struct work_struct *work);
void pinhole_cmd_put(struct pinhole_cmd *cmd);
void pinhole_cmd_release(struct pinhole_cmd *cmd);

/* transport.c */
unsigned long pinhole_timeout(void);
void pinhole_commands_init(struct pinhole_device *dev);
void pinhole_commands_open(struct pinhole_device *dev, struct virtqueue *vq);
void pinhole_commands_detach(struct pinhole_device *dev);
void pinhole_commands_exit(struct pinhole_device *dev);
void pinhole_commands_cb(struct virtqueue *vq);
void pinhole_commands_look(struct pinhole_device *dev);
const char *pinhole_commands_check(struct pinhole_device *dev, bool *idle);
void pinhole_commands_cancel_qbufs(struct pinhole_stream *stream);
int pinhole_fault(const struct pinhole_device *dev);
void pinhole_set_fault(struct pinhole_device *dev, int fault, const char *why);
int pinhole_replace_fault(struct pinhole_device *dev, int from, int to);
void pinhole_cmd_submit(struct pinhole_cmd *cmd);
int pinhole_cmd_call(struct pinhole_cmd *cmd, bool killable);

#endif /* PINHOLE_TRANSPORT_H */
