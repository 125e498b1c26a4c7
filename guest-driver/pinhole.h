/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pinhole: a V4L2 capture driver for the virtio media device.
 *
 * Locks, outermost first:
 *
 *   ioctl_mutex    serialises the ioctls that are not the buffer queue's
 *   queue_mutex    videobuf2's lock: buffers, and the format while they exist
 *   session_mutex  one synchronous command at a time; the session
 *   lock           (spinlock, irqsave) virtqueues, commands, buffers at the
 *                  card, the state of the stream. Nothing waits under it.
 */
#ifndef PINHOLE_H
#define PINHOLE_H

#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <media/v4l2-device.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-v4l2.h>

#include "compat.h"
#include "virtio_media.h"

/* A frame larger than this is taken for a mistake of the card. */
#define PINHOLE_MAX_SIZEIMAGE SZ_64M

/* Events that the card can have under way; a queue of 32 buffers needs 32. */
#define PINHOLE_MAX_EVENTS 64

struct frame_vector;
struct pinhole_device;

/**
 * enum pinhole_cmd_state - where a command is
 * @PINHOLE_CMD_IDLE: with its owner
 * @PINHOLE_CMD_PENDING: waiting for room in the command queue
 * @PINHOLE_CMD_SUBMITTED: in the command queue: the card may read and write it
 */
enum pinhole_cmd_state {
	PINHOLE_CMD_IDLE,
	PINHOLE_CMD_PENDING,
	PINHOLE_CMD_SUBMITTED,
};

/**
 * struct pinhole_cmd - one command and the room for its response
 * @node: entry in one of the device's lists of commands, unless idle
 * @state: where the command is
 * @orphan: the owner gave it up while the card had it; freed after a reset
 * @since: when it was submitted, in jiffies
 * @req: what the card reads: the command and its payload
 * @req_len: length of @req in bytes
 * @resp: what the card writes; NULL for a command without response
 * @resp_len: length of @resp in bytes
 * @entries: scatter entries that follow @req; NULL for none
 * @num_entries: number of @entries
 * @req_sg: describes @req
 * @resp_sg: describes @resp
 * @entries_sgt: describes @entries
 * @used: number of bytes that the card says it wrote to @resp
 * @result: 0 or a negative errno, when answered
 * @complete: called with the device's lock held when answered or given up
 * @done: what a synchronous caller waits for
 * @buf: buffer that the command queues; NULL for other commands
 */
struct pinhole_cmd {
	struct list_head node;
	enum pinhole_cmd_state state;
	bool orphan;
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
	void (*complete)(struct pinhole_device *dev, struct pinhole_cmd *cmd);
	struct completion done;
	struct pinhole_buffer *buf;
};

/**
 * struct pinhole_buffer - a videobuf2 buffer
 * @vb: what videobuf2 knows of it; must be first
 * @node: entry in the device's list of buffers that videobuf2 has handed over
 * @cmd: its QBUF command, with the scatter entries of its memory
 * @at_card: queued at the card, no DQBUF event seen
 * @returned: no longer at the card; goes back once @cmd is idle, too
 * @result: state to give it back in, once @returned
 *
 * The QBUF response and the DQBUF event come on different virtqueues and are
 * seen in either order. The buffer goes back to videobuf2 only when both have
 * been seen, so that its command is idle when it is queued again.
 */
struct pinhole_buffer {
	struct vb2_v4l2_buffer vb;
	struct list_head node;
	struct pinhole_cmd *cmd;
	bool at_card;
	bool returned;
	enum vb2_buffer_state result;
};

/**
 * struct pinhole_mem - the memory of one plane, as videobuf2's mem_priv
 * @dev: the device
 * @sg_priv: memory of vb2_dma_sg_memops; NULL if it is pinned by this driver
 * @userptr: it is the application's memory
 * @dbuf: dma-buf that it comes from, or NULL
 * @mapped: @dbuf is mapped
 * @held: the card may write to it until it is reset; freeing is put off
 * @node: entry in the device's list of memory to free after the reset
 * @start: user address of the first byte
 * @size: length in bytes
 * @vec: frame vector of the pinned range
 * @pages: pages of @vec; NULL if it has page frame numbers only
 * @nr: number of pages or page frame numbers
 * @sgt: scatter list of @pages
 * @dma_mapped: @sgt is mapped by the DMA API
 * @vaddr: kernel mapping, or NULL
 *
 * The fields from @start on are for memory pinned by this driver.
 */
struct pinhole_mem {
	struct pinhole_device *dev;
	void *sg_priv;
	bool userptr;
	struct dma_buf *dbuf;
	bool mapped;
	bool held;
	struct list_head node;

	unsigned long start;
	unsigned long size;
	struct frame_vector *vec;
	struct page **pages;
	unsigned int nr;
	struct sg_table sgt;
	bool dma_mapped;
	void *vaddr;
};

/**
 * struct pinhole_segments - collects scatter entries
 * @entries: where they go; NULL to count them only
 * @max: room in @entries
 * @count: number of entries so far
 * @left: bytes of the buffer that no entry covers yet
 * @start: address of the last entry
 * @len: length of the last entry
 */
struct pinhole_segments {
	struct virtio_media_sg_entry *entries;
	unsigned int max;
	unsigned int count;
	size_t left;
	u64 start;
	u64 len;
};

/**
 * enum pinhole_stream - state of the stream
 * @PINHOLE_STOPPED: no buffer is at the card
 * @PINHOLE_STARTING: buffers go to the card; those that return are kept back,
 *		      for they must be given back QUEUED if the start fails
 * @PINHOLE_STREAMING: buffers come and go
 * @PINHOLE_STOPPING: buffers come back, none go
 */
enum pinhole_stream {
	PINHOLE_STOPPED,
	PINHOLE_STARTING,
	PINHOLE_STREAMING,
	PINHOLE_STOPPING,
};

/**
 * struct pinhole_device - one card
 * @v4l2_dev: V4L2 device; its release frees this structure
 * @video_dev: the device node
 * @queue: the buffer queue
 * @ioctl_mutex: see the top of this file
 * @queue_mutex: see the top of this file
 * @session_mutex: see the top of this file
 * @lock: see the top of this file
 * @vdev: virtio device, of which a reference is held
 * @dma_dev: device that does the DMA: the parent of @vdev
 * @use_dma: the card is given DMA addresses (VIRTIO_F_ACCESS_PLATFORM), not
 *	     guest-physical ones
 * @dma_identity: the DMA API hands out guest-physical addresses here
 * @card: name of the card, NUL-terminated
 * @format: format of the buffers, as the card last told it
 * @session_id: the session (under @session_mutex and @lock)
 * @session_bad: the card gave up the session; it must be closed
 * @session_work: closes a session that the card gave up, and opens another
 * @complaints: ioctls whose nonsensical answer has been logged
 * @commandq: command queue; NULL once it is gone
 * @eventq: event queue; NULL once it is gone
 * @command_slots: number of descriptors of @commandq
 * @pending: commands that wait for room in @commandq
 * @inflight: commands in @commandq, oldest first
 * @orphans: commands that came back after their owner gave them up
 * @fault: 0; -EIO once the card stopped answering; -ENODEV once it is removed
 * @heard: when the card last gave a sign of life, in jiffies
 * @watchdog: looks after the card while it streams
 * @ping: command of @watchdog
 * @stream: state of the stream
 * @stream_failed: the stream is dead until STREAMOFF
 * @stream_session: session that the stream runs in
 * @buffers: buffers that videobuf2 has handed over
 * @slots: buffers at the card, by index
 * @qbufs: number of QBUF commands that are not idle
 * @idle: woken when @qbufs falls to 0 or @fault is set
 * @events: event buffers
 * @num_events: number of @events
 * @held_mem: memory to free after the reset
 * @was_reset: the card was reset for good
 */
struct pinhole_device {
	struct v4l2_device v4l2_dev;
	struct video_device video_dev;
	struct vb2_queue queue;
	struct mutex ioctl_mutex; /* the ioctls that are not the queue's */
	struct mutex queue_mutex; /* the buffer queue and the format */
	struct mutex session_mutex; /* synchronous commands and the session */
	spinlock_t lock; /* virtqueues, commands, the state of the stream */

	struct virtio_device *vdev;
	struct device *dma_dev;
	bool use_dma;
	bool dma_identity;
	char card[33];
	struct v4l2_pix_format format;

	u32 session_id;
	bool session_bad;
	struct work_struct session_work;
	DECLARE_BITMAP(complaints, 256);

	struct virtqueue *commandq;
	struct virtqueue *eventq;
	unsigned int command_slots;
	struct list_head pending;
	struct list_head inflight;
	struct list_head orphans;
	int fault;
	unsigned long heard;
	struct delayed_work watchdog;
	struct pinhole_cmd *ping;

	enum pinhole_stream stream;
	bool stream_failed;
	u32 stream_session;
	struct list_head buffers;
	struct pinhole_buffer *slots[VIDEO_MAX_FRAME];
	unsigned int qbufs;
	wait_queue_head_t idle;

	struct virtio_media_event_dqbuf *events[PINHOLE_MAX_EVENTS];
	unsigned int num_events;

	struct list_head held_mem;
	bool was_reset;
};

/* main.c */
unsigned long pinhole_timeout(void);
bool pinhole_native_userptr(void);

/* queue.c */
struct pinhole_cmd *pinhole_cmd_alloc(struct pinhole_device *dev, size_t req_len,
				      size_t resp_len, unsigned int num_entries);
void pinhole_cmd_release(struct pinhole_device *dev, struct pinhole_cmd *cmd);
void pinhole_cmd_submit(struct pinhole_device *dev, struct pinhole_cmd *cmd);
int pinhole_cmd_call(struct pinhole_device *dev, struct pinhole_cmd *cmd);
void pinhole_cmds_cancel_qbufs(struct pinhole_device *dev);
void pinhole_cmds_detach(struct pinhole_device *dev);
void pinhole_commandq_cb(struct virtqueue *vq);
void pinhole_set_fault(struct pinhole_device *dev, int fault, const char *why);

/* watchdog.c */
int pinhole_watchdog_init(struct pinhole_device *dev);
void pinhole_watchdog_start(struct pinhole_device *dev);
void pinhole_watchdog_stop(struct pinhole_device *dev);

/* event.c */
int pinhole_events_init(struct pinhole_device *dev);
void pinhole_events_free(struct pinhole_device *dev);
void pinhole_events_drain(struct pinhole_device *dev);
void pinhole_eventq_cb(struct virtqueue *vq);

/* session.c */
int pinhole_session_open(struct pinhole_device *dev);
void pinhole_session_work(struct work_struct *work);
void pinhole_session_stop(struct pinhole_device *dev);
int pinhole_ioctl(struct pinhole_device *dev, unsigned int cmd, void *payload);
void pinhole_fill_ioctl(void *req, u32 session_id, unsigned int cmd);

/* v4l2.c */
extern const struct v4l2_ioctl_ops pinhole_ioctl_ops;
extern const struct v4l2_file_operations pinhole_fops;
int pinhole_get_format(struct pinhole_device *dev, struct v4l2_format *f);

/* vb2.c */
int pinhole_queue_init(struct pinhole_device *dev);
void pinhole_stream_fail(struct pinhole_device *dev, const char *why);
void pinhole_buffer_settle(struct pinhole_device *dev,
			   struct pinhole_buffer *buf);

/* memory.c */
extern const struct vb2_mem_ops pinhole_mem_ops;
int pinhole_mem_segments(struct pinhole_mem *mem, size_t length,
			 struct virtio_media_sg_entry *entries,
			 unsigned int max);
void pinhole_mem_hold(struct vb2_buffer *vb);
void pinhole_mem_free_held(struct pinhole_device *dev);

/* userptr.c */
int pinhole_pin(struct pinhole_mem *mem, unsigned long start,
		unsigned long size);
void pinhole_unpin(struct pinhole_mem *mem);
void pinhole_pinned_segments(struct pinhole_mem *mem,
			     struct pinhole_segments *segs);
void pinhole_segments_add(struct pinhole_segments *segs, u64 start, u64 len);

#endif /* PINHOLE_H */
