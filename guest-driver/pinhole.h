/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pinhole: a V4L2 capture driver for the virtio media device.
 *
 * Locks, outermost first:
 *
 *   ioctl_mutex    serialises the ioctls that are not the buffer queue's
 *   queue_mutex    videobuf2's lock: buffers, and the format while they exist
 *   ctrl_handler's lock: the values of the controls
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
#include <media/v4l2-ctrls.h>
#include <media/v4l2-device.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-v4l2.h>

#include "compat.h"
#include "virtio_media.h"

/* A frame larger than this is taken for a mistake of the card. */
#define PINHOLE_MAX_SIZEIMAGE SZ_64M

/* Events that the card can have under way; a queue of 32 buffers needs 32. */
#define PINHOLE_MAX_EVENTS 64

/* More controls than this are left out; so are longer menus and strings. */
#define PINHOLE_MAX_CONTROLS 256
#define PINHOLE_MAX_MENU 64
#define PINHOLE_MAX_STRING 4095

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
 * @data: what the one entry describes, if it is the command's own; or NULL
 * @data_len: length of @data in bytes
 * @data_addr: DMA address of @data
 * @data_mapped: @data is mapped by the DMA API
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
	void *data;
	size_t data_len;
	dma_addr_t data_addr;
	bool data_mapped;
};

/**
 * struct pinhole_call - an ioctl to forward
 * @cmd: VIDIOC_*
 * @payload: payload, overwritten with the card's if the ioctl returns one
 * @length: length of @payload in bytes
 * @data: what the payload's one pointer points to, overwritten with the card's
 *	  by G_EXT_CTRLS; or NULL
 * @data_length: length of @data in bytes
 */
struct pinhole_call {
	unsigned int cmd;
	void *payload;
	size_t length;
	void *data;
	size_t data_length;
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
 * struct pinhole_menu - the items of a menu control
 * @items: names as the control framework wants them, "" where there is none
 * @names: names of the items
 * @values: values of the items of an integer menu
 */
struct pinhole_menu {
	const char *items[PINHOLE_MAX_MENU + 1];
	char names[PINHOLE_MAX_MENU][32];
	s64 values[PINHOLE_MAX_MENU];
};

/**
 * struct pinhole_control - one of the card's controls
 * @node: entry in the device's list of controls
 * @dev: the device
 * @ctrl: the control framework's view of it
 * @id: V4L2_CID_*
 * @type: V4L2_CTRL_TYPE_*
 * @changes: V4L2_EVENT_CTRL_CH_* that are still to be taken over from the card
 *	     (under the device's lock)
 * @from_card: it is being set to what the card says (under the handler's lock)
 * @menu: its menu, or NULL
 * @name: its name, NUL-terminated
 */
struct pinhole_control {
	struct list_head node;
	struct pinhole_device *dev;
	struct v4l2_ctrl *ctrl;
	u32 id;
	u32 type;
	u32 changes;
	bool from_card;
	struct pinhole_menu *menu;
	char name[32];
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
 * @num_planes: number of planes of a buffer, as the card last told it
 * @plane_sizes: their lengths in bytes
 * @session_id: the session (under @session_mutex and @lock)
 * @session_bad: the card gave up the session; it must be closed
 * @session_work: closes a session that the card gave up, and opens another
 * @frame_sync_users: subscriptions to FRAME_SYNC (under @session_mutex)
 * @has_eos: the card has the event EOS
 * @has_source_change: the card has the event SOURCE_CHANGE
 * @complaints: ioctls whose nonsensical answer has been logged
 * @ctrl_handler: what the control framework knows of the controls
 * @controls: the controls; the list does not change after the probe
 * @control_work: takes over changes of controls that the card has reported
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
	unsigned int num_planes;
	u32 plane_sizes[VIDEO_MAX_PLANES];

	u32 session_id;
	bool session_bad;
	struct work_struct session_work;
	unsigned int frame_sync_users;
	bool has_eos;
	bool has_source_change;
	DECLARE_BITMAP(complaints, 256);

	struct v4l2_ctrl_handler ctrl_handler;
	struct list_head controls;
	struct work_struct control_work;

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

/**
 * pinhole_is_multiplanar() - which kind of buffers the card has
 * @dev: device
 *
 * Context: Any.
 * Return: True if its buffers have planes with memory of their own.
 */
static inline bool pinhole_is_multiplanar(const struct pinhole_device *dev)
{
	return dev->queue.type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
}

/* main.c */
unsigned long pinhole_timeout(void);
bool pinhole_native_userptr(void);

/* queue.c */
struct pinhole_cmd *pinhole_cmd_alloc(struct pinhole_device *dev, size_t req_len,
				      size_t resp_len, unsigned int num_entries);
int pinhole_cmd_attach(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		       const void *data, size_t length);
void pinhole_cmd_fetch(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		       void *data, size_t length);
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
int pinhole_session_ready(struct pinhole_device *dev);
int pinhole_session_ioctl(struct pinhole_device *dev, unsigned int cmd,
			  void *payload);
void pinhole_session_work(struct work_struct *work);
void pinhole_session_stop(struct pinhole_device *dev);
int pinhole_call(struct pinhole_device *dev, const struct pinhole_call *call);
int pinhole_ioctl(struct pinhole_device *dev, unsigned int cmd, void *payload);
int pinhole_nonsense(struct pinhole_device *dev, unsigned int cmd);
void pinhole_fill_ioctl(void *req, u32 session_id, unsigned int cmd);

/* subscribe.c */
void pinhole_session_subscribe(struct pinhole_device *dev);
int pinhole_subscribe_event(struct v4l2_fh *fh,
			    const struct v4l2_event_subscription *sub);
bool pinhole_has_events(struct pinhole_device *dev);

/* controls.c */
int pinhole_controls_init(struct pinhole_device *dev);
void pinhole_controls_free(struct pinhole_device *dev);
bool pinhole_range_good(const struct v4l2_query_ext_ctrl *q);

/* control_values.c */
extern const struct v4l2_ctrl_ops pinhole_control_ops;
void pinhole_control_work(struct work_struct *work);
const char *pinhole_control_event(struct pinhole_device *dev, u32 id,
				  u32 changes);
void pinhole_controls_stale(struct pinhole_device *dev);

/* v4l2.c */
int pinhole_register_node(struct pinhole_device *dev);

/* format.c */
int pinhole_update_planes(struct pinhole_device *dev);
bool pinhole_fraction_good(const struct v4l2_fract *f);
int pinhole_enum_fmt(struct file *file, void *priv, struct v4l2_fmtdesc *f);
int pinhole_g_fmt(struct file *file, void *priv, struct v4l2_format *f);
int pinhole_try_fmt(struct file *file, void *priv, struct v4l2_format *f);
int pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f);
int pinhole_enum_framesizes(struct file *file, void *priv,
			    struct v4l2_frmsizeenum *fsize);
int pinhole_enum_frameintervals(struct file *file, void *priv,
				struct v4l2_frmivalenum *fival);

/* input.c */
int pinhole_g_parm(struct file *file, void *priv, struct v4l2_streamparm *parm);
int pinhole_s_parm(struct file *file, void *priv, struct v4l2_streamparm *parm);
int pinhole_enum_input(struct file *file, void *priv, struct v4l2_input *input);
int pinhole_g_input(struct file *file, void *priv, unsigned int *index);
int pinhole_s_input(struct file *file, void *priv, unsigned int index);
bool pinhole_has_selection(struct pinhole_device *dev);
int pinhole_g_selection(struct file *file, void *priv,
			struct v4l2_selection *sel);
int pinhole_s_selection(struct file *file, void *priv,
			struct v4l2_selection *sel);

/* vb2.c */
int pinhole_queue_init(struct pinhole_device *dev);
void pinhole_stream_fail(struct pinhole_device *dev, const char *why);

/* buffer.c */
struct pinhole_buffer *to_pinhole_buffer(struct vb2_buffer *vb);
int pinhole_buffer_describe(struct vb2_buffer *vb);
void pinhole_buffer_submit(struct pinhole_device *dev,
			   struct pinhole_buffer *buf);
void pinhole_buffer_settle(struct pinhole_device *dev,
			   struct pinhole_buffer *buf);
const char *pinhole_buffer_returned(struct pinhole_device *dev,
				    const struct v4l2_buffer *b,
				    const struct v4l2_plane *planes);

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
