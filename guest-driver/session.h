/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sessions with the device, and the ioctls that are forwarded in them.
 */
#ifndef PINHOLE_SESSION_H
#define PINHOLE_SESSION_H

#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "transport.h"

struct pinhole_context;

/* When what failed for want of memory is tried again, in jiffies. */
#define PINHOLE_RETRY HZ

/* Beside the streams', the bit of the probe in what a session is busy with. */
#define PINHOLE_PROBING BIT(31)

/**
 * struct pinhole_session - a session (under commands.mutex)
 * @busy: who relies on the session as it is, a bit for each stream, and
 *	  PINHOLE_PROBING
 * @opened: number of sessions that were opened so far: the device may give a
 *	    number a second time
 * @open: the device has the session
 * @close: command that closes a session: closing, which takes all buffers from
 *	   the device, needs no memory
 * @lock: guards @id and @bad, which are written under commands.mutex, too
 * @id: number of the session
 * @bad: the session is lost: it must be replaced, or its file is dead
 */
struct pinhole_session {
	u32 busy;
	unsigned int opened;
	bool open;
	struct pinhole_cmd *close;
	spinlock_t lock; /* the session's number and state */
	u32 id;
	bool bad;
};

/**
 * struct pinhole_recovery - what looks after the device and its sessions
 * @retry: when a device that was given up may be set up anew, in jiffies (under
 *	   commands.mutex, like @fresh)
 * @fresh: the device was reset, and knows nothing of what it was told before
 * @work: replaces the session, or sets up a device that was given up
 * @watchdog: looks whether the device responds while it streams
 * @ping: command of @watchdog
 */
struct pinhole_recovery {
	unsigned long retry;
	bool fresh;
	struct delayed_work work;
	struct delayed_work watchdog;
	struct pinhole_cmd *ping;
};

/**
 * struct pinhole_call - an ioctl to forward
 * @cmd: VIDIOC_*
 * @payload: payload, overwritten with the device's if the ioctl returns one
 * @length: length of @payload in bytes
 * @pieces: what the payload's pointers point to, in their order; overwritten with
 *	    the device's by G_EXT_CTRLS
 * @num_pieces: number of @pieces
 */
struct pinhole_call {
	unsigned int cmd;
	void *payload;
	size_t length;
	const struct pinhole_piece *pieces;
	unsigned int num_pieces;
};

/* session.c */
int pinhole_session_new(struct pinhole_context *ctx);
int pinhole_session_close(struct pinhole_context *ctx);
void pinhole_session_replace(struct pinhole_context *ctx, unsigned long delay);
int pinhole_session_call(struct pinhole_context *ctx,
			 const struct pinhole_call *call);
int pinhole_session_ioctl(struct pinhole_context *ctx, unsigned int cmd,
			  void *payload);
int pinhole_nonsense(struct pinhole_device *dev, unsigned int cmd);

/* recovery.c */
void pinhole_recovery_init(struct pinhole_device *dev);
void pinhole_recovery_cancel(struct pinhole_device *dev);
void pinhole_recovery_exit(struct pinhole_device *dev);
int pinhole_recovery_alloc(struct pinhole_device *dev);
void pinhole_session_init(struct pinhole_context *ctx);
int pinhole_session_open(struct pinhole_context *ctx);
void pinhole_session_end(struct pinhole_context *ctx);
void pinhole_session_exit(struct pinhole_context *ctx);
bool pinhole_session_lost(struct pinhole_device *dev, u32 session_id);
void pinhole_sessions_reset(struct pinhole_device *dev);
int pinhole_session_fault(const struct pinhole_context *ctx);
int pinhole_session_ready(struct pinhole_context *ctx);
void pinhole_session_done(struct pinhole_context *ctx, u32 who);
void pinhole_session_recover(struct pinhole_device *dev);
int pinhole_call_locked(struct pinhole_context *ctx,
			const struct pinhole_call *call);
int pinhole_call(struct pinhole_context *ctx, const struct pinhole_call *call);
int pinhole_ioctl(struct pinhole_context *ctx, unsigned int cmd, void *payload);
void pinhole_watchdog_start(struct pinhole_device *dev);
void pinhole_watchdog_alert(struct pinhole_device *dev);
void pinhole_watchdog_stop(struct pinhole_device *dev);

#endif /* PINHOLE_SESSION_H */
