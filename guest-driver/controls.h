/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The controls of the device, and its events.
 */
#ifndef PINHOLE_CONTROLS_H
#define PINHOLE_CONTROLS_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <media/v4l2-ctrls.h>
#include <media/v4l2-event.h>

#include "range.h"
#include "virtio_media.h"

struct pinhole_context;
struct pinhole_device;

/* More controls than this are left out. */
#define PINHOLE_MAX_CONTROLS 256

/* Beside V4L2_EVENT_CTRL_CH_*: the device has forgotten what it was told. */
#define PINHOLE_CTRL_RESTORE BIT(31)

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
 * struct pinhole_control - one of the device's controls
 * @node: entry in the list of controls
 * @ctx: the context that it belongs to
 * @ctrl: the control framework's view of it
 * @id: V4L2_CID_*
 * @type: V4L2_CTRL_TYPE_*
 * @changes: V4L2_EVENT_CTRL_CH_* that are still to be taken over from the device,
 *	     and PINHOLE_CTRL_RESTORE (under the lock of the controls)
 * @stale: those of them that a control cannot follow while it is grabbed
 *	   (likewise)
 * @was_set: an application has set it, and the device not changed it since (under
 *	     the handler's lock)
 * @menu: its menu, or NULL
 * @name: its name, NUL-terminated
 */
struct pinhole_control {
	struct list_head node;
	struct pinhole_context *ctx;
	struct v4l2_ctrl *ctrl;
	u32 id;
	u32 type;
	u32 changes;
	u32 stale;
	bool was_set;
	struct pinhole_menu *menu;
	char name[32];
};

/**
 * struct pinhole_controls - the controls
 * @handler: what the control framework knows of them
 * @list: the controls; it does not change after the probe
 * @cluster: those that can be set together; nor does this
 * @from_device: a control is being set to what the device says (under the
 *		 handler's lock)
 * @tries_nothing: the device does not know TRY_EXT_CTRLS (likewise)
 * @lock: guards what is to be taken over from the device
 * @work: takes it over
 */
struct pinhole_controls {
	struct v4l2_ctrl_handler handler;
	struct list_head list;
	struct v4l2_ctrl *cluster[PINHOLE_MAX_CONTROLS];
	bool from_device;
	bool tries_nothing;
	spinlock_t lock; /* changes that the device has reported */
	struct delayed_work work;
};

/**
 * struct pinhole_subscriptions - events of the device (under commands.mutex)
 * @frame_sync_users: subscriptions to FRAME_SYNC
 * @has_eos: the device has the event EOS
 * @has_source_change: the device has the event SOURCE_CHANGE
 * @has_frame_sync: the device has the event FRAME_SYNC
 */
struct pinhole_subscriptions {
	unsigned int frame_sync_users;
	bool has_eos;
	bool has_source_change;
	bool has_frame_sync;
};

/* control_ranges.c */
int pinhole_menu_query(struct pinhole_context *ctx,
		       const struct v4l2_query_ext_ctrl *q,
		       struct pinhole_menu *menu, u64 *skip);
int pinhole_range_follow(struct pinhole_control *control);

/* control_values.c */
extern const struct v4l2_ctrl_ops pinhole_control_ops;
void pinhole_control_work(struct work_struct *work);
bool pinhole_control_event(struct pinhole_context *ctx, u32 id, u32 changes);
void pinhole_control_stale(struct pinhole_control *control);
void pinhole_controls_stale(struct pinhole_context *ctx, bool forgotten);

/* subscribe.c */
int pinhole_session_renewed(struct pinhole_context *ctx);
bool pinhole_v4l2_event(struct pinhole_device *dev, u32 session_id,
			const struct virtio_media_event_event *event);
int pinhole_subscribe_event(struct v4l2_fh *fh,
			    const struct v4l2_event_subscription *sub);
bool pinhole_has_events(const struct pinhole_context *ctx);

/* controls.c */
void pinhole_controls_init(struct pinhole_context *ctx);
int pinhole_controls_probe(struct pinhole_context *ctx);
void pinhole_controls_exit(struct pinhole_context *ctx);
void pinhole_controls_grab(struct pinhole_context *ctx, bool grabbed);

#endif /* PINHOLE_CONTROLS_H */
