/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The card's controls.
 */
#ifndef PINHOLE_CONTROLS_H
#define PINHOLE_CONTROLS_H

#include <linux/list.h>
#include <linux/workqueue.h>
#include <media/v4l2-ctrls.h>

struct pinhole_device;

/* More controls than this are left out; so are longer menus and strings. */
#define PINHOLE_MAX_CONTROLS 256
#define PINHOLE_MAX_MENU 64
#define PINHOLE_MAX_STRING 4095

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
 * @stale: those of them that a control cannot follow while it is grabbed
 *	   (likewise)
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
	u32 stale;
	bool from_card;
	struct pinhole_menu *menu;
	char name[32];
};

/* controls.c */
int pinhole_controls_init(struct pinhole_device *dev);
void pinhole_controls_free(struct pinhole_device *dev);
void pinhole_controls_grab(struct pinhole_device *dev, bool grabbed);
bool pinhole_range_good(const struct v4l2_query_ext_ctrl *q);

/* control_values.c */
extern const struct v4l2_ctrl_ops pinhole_control_ops;
void pinhole_control_work(struct work_struct *work);
bool pinhole_control_event(struct pinhole_device *dev, u32 id, u32 changes);
void pinhole_control_stale(struct pinhole_device *dev,
			   struct pinhole_control *control);
void pinhole_controls_stale(struct pinhole_device *dev);

#endif /* PINHOLE_CONTROLS_H */
