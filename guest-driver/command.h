/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commands to the card, and the ioctls that are forwarded by them.
 */
#ifndef PINHOLE_COMMAND_H
#define PINHOLE_COMMAND_H

#include <linux/completion.h>
#include <linux/list.h>
#include <linux/scatterlist.h>
#include <linux/virtio.h>
#include <linux/workqueue.h>

#include "virtio_media.h"

struct pinhole_buffer;
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
 * @orphan: the owner gave it up before it was answered; freed when the card
 *	    has answered, or was reset
 * @since: when it was put in the command queue, in jiffies
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
 * @garbled: the answer is none: what the card made of the command is not known
 * @complete: called with the device's lock held when answered or given up,
 *	      unless it is an orphan
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
	bool garbled;
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
 * pinhole_is_local() - whether an error says nothing of the card
 * @ret: negative errno
 *
 * Context: Any.
 * Return: True if memory was short, or whoever waited was killed.
 */
static inline bool pinhole_is_local(int ret)
{
	return ret == -ENOMEM || ret == -ERESTARTSYS;
}

/* command.c */
struct pinhole_cmd *pinhole_cmd_alloc(struct pinhole_device *dev, size_t req_len,
				      size_t resp_len, unsigned int num_entries);
int pinhole_cmd_attach(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		       const void *data, size_t length);
void pinhole_cmd_fetch(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		       void *data, size_t length);
void pinhole_cmd_release(struct pinhole_device *dev, struct pinhole_cmd *cmd);
void pinhole_cmd_free(struct pinhole_device *dev, struct pinhole_cmd *cmd);

/* queue.c */
void pinhole_cmd_submit(struct pinhole_device *dev, struct pinhole_cmd *cmd);
int pinhole_cmd_call(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		     bool killable);
void pinhole_cmds_cancel_qbufs(struct pinhole_device *dev);
void pinhole_cmds_detach(struct pinhole_device *dev);
void pinhole_rings_look(struct pinhole_device *dev);
void pinhole_commandq_cb(struct virtqueue *vq);
void pinhole_set_fault(struct pinhole_device *dev, int fault, const char *why);

/* session.c */
int pinhole_session_open(struct pinhole_device *dev);
void pinhole_session_lost(struct pinhole_device *dev);
int pinhole_session_begin(struct pinhole_device *dev,
			  struct v4l2_requestbuffers *req);
int pinhole_stream_ioctl(struct pinhole_device *dev, unsigned int cmd,
			 void *payload);
int pinhole_session_ready(struct pinhole_device *dev);
int pinhole_session_ioctl(struct pinhole_device *dev, unsigned int cmd,
			  void *payload);
void pinhole_session_work(struct work_struct *work);
void pinhole_session_stop(struct pinhole_device *dev);
int pinhole_call(struct pinhole_device *dev, const struct pinhole_call *call);
int pinhole_ioctl(struct pinhole_device *dev, unsigned int cmd, void *payload);
int pinhole_nonsense(struct pinhole_device *dev, unsigned int cmd);
void pinhole_fill_ioctl(void *req, u32 session_id, unsigned int cmd);

#endif /* PINHOLE_COMMAND_H */
