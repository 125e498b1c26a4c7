// SPDX-License-Identifier: GPL-2.0
/*
 * The controls: what the card has, made known to the V4L2 control framework.
 *
 * Names, ranges and menus are the card's, and none is taken on trust: the
 * framework divides by steps and looks up menus without asking whether they
 * make sense. A control that does not is left out.
 */
#include <linux/slab.h>
#include <linux/string.h>

#include "command.h"
#include "controls.h"
#include "pinhole.h"

/* Flags that come from the card; the others the framework sees to itself. */
#define PINHOLE_CONTROL_FLAGS						\
	(V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY |		\
	 V4L2_CTRL_FLAG_UPDATE | V4L2_CTRL_FLAG_INACTIVE |		\
	 V4L2_CTRL_FLAG_SLIDER | V4L2_CTRL_FLAG_VOLATILE |		\
	 V4L2_CTRL_FLAG_EXECUTE_ON_WRITE | V4L2_CTRL_FLAG_MODIFY_LAYOUT)

/**
 * pinhole_range_good() - whether the range of a control makes sense
 * @q: control
 *
 * Context: Any.
 * Return: True if the control framework can work with it.
 */
bool pinhole_range_good(const struct v4l2_query_ext_ctrl *q)
{
	bool ordered = q->minimum <= q->default_value &&
		       q->default_value <= q->maximum;

	switch (q->type) {
	case V4L2_CTRL_TYPE_INTEGER:
		return ordered && q->minimum >= S32_MIN &&
		       q->maximum <= S32_MAX && q->step && q->step <= S32_MAX;
	case V4L2_CTRL_TYPE_INTEGER64:
		return ordered && q->step && q->step <= S32_MAX;
	case V4L2_CTRL_TYPE_BOOLEAN:
		return ordered && q->minimum >= 0 && q->maximum <= 1;
	case V4L2_CTRL_TYPE_MENU:
	case V4L2_CTRL_TYPE_INTEGER_MENU:
		return ordered && q->minimum >= 0 &&
		       q->maximum < PINHOLE_MAX_MENU;
	case V4L2_CTRL_TYPE_BITMASK:
		return q->maximum > 0 && q->maximum <= U32_MAX &&
		       !(q->default_value & ~q->maximum);
	case V4L2_CTRL_TYPE_STRING:
		return q->minimum >= 0 && q->minimum <= q->maximum &&
		       q->maximum <= PINHOLE_MAX_STRING &&
		       q->step && q->step <= S32_MAX;
	case V4L2_CTRL_TYPE_BUTTON:
	case V4L2_CTRL_TYPE_CTRL_CLASS:
		return true;
	default:
		return false;
	}
}

/**
 * pinhole_control_free() - free the description of a control
 * @control: control
 *
 * Context: Process context.
 * Return: Nothing.
 */
static void pinhole_control_free(struct pinhole_control *control)
{
	kfree(control->menu);
	kfree(control);
}

/**
 * pinhole_control_menu() - ask the card for the items of a menu
 * @control: control
 * @q: what the card said of it, looked at
 * @cfg: configuration for the control framework, completed here
 *
 * Context: Process context. Waits for the card.
 * Return: 0 or a negative errno; -ERANGE if the default is no item.
 */
static int pinhole_control_menu(struct pinhole_control *control,
				const struct v4l2_query_ext_ctrl *q,
				struct v4l2_ctrl_config *cfg)
{
	struct pinhole_menu *menu;
	u32 i;
	int ret;

	menu = kzalloc(sizeof(*menu), GFP_KERNEL);
	if (!menu)
		return -ENOMEM;
	control->menu = menu;

	/* An item without a name is none to the framework. */
	for (i = 0; i <= q->maximum; i++)
		menu->items[i] = menu->names[i];

	for (i = q->minimum; i <= q->maximum; i++) {
		struct v4l2_querymenu item = { .id = q->id, .index = i };

		ret = pinhole_ioctl(control->dev, VIDIOC_QUERYMENU, &item);
		if (ret == -EINVAL) {
			if (i == q->default_value)
				return -ERANGE;
			if (q->type == V4L2_CTRL_TYPE_INTEGER_MENU)
				cfg->menu_skip_mask |= BIT_ULL(i);
			continue;
		}
		if (ret)
			return ret;
		if (item.id != q->id || item.index != i)
			return -ERANGE;
		if (q->type == V4L2_CTRL_TYPE_INTEGER_MENU) {
			menu->values[i] = item.value;
			continue;
		}
		strscpy(menu->names[i], item.name, sizeof(menu->names[i]));
		if (!menu->names[i][0])
			return -ERANGE;
	}
	if (q->type == V4L2_CTRL_TYPE_INTEGER_MENU)
		cfg->qmenu_int = menu->values;
	else
		cfg->qmenu = menu->items;
	return 0;
}

/**
 * pinhole_control_add() - make a control known to the control framework
 * @dev: device
 * @q: what the card said of it, its name terminated
 *
 * Context: Process context. May wait for the card.
 * Return: 0 or a negative errno; -ERANGE if it makes no sense.
 */
static int pinhole_control_add(struct pinhole_device *dev,
			       const struct v4l2_query_ext_ctrl *q)
{
	struct v4l2_ctrl_config cfg = {
		.ops = &pinhole_control_ops,
		.id = q->id,
		.type = q->type,
		.flags = q->flags & PINHOLE_CONTROL_FLAGS,
	};
	struct pinhole_control *control;
	unsigned long flags;
	int ret = -ERANGE;

	if (!q->name[0] || !pinhole_range_good(q))
		return -ERANGE;
	control = kzalloc(sizeof(*control), GFP_KERNEL);
	if (!control)
		return -ENOMEM;
	control->dev = dev;
	control->id = q->id;
	control->type = q->type;
	strscpy(control->name, q->name, sizeof(control->name));
	cfg.name = control->name;

	switch (q->type) {
	case V4L2_CTRL_TYPE_MENU:
	case V4L2_CTRL_TYPE_INTEGER_MENU:
		cfg.min = q->minimum;
		cfg.max = q->maximum;
		cfg.def = q->default_value;
		ret = pinhole_control_menu(control, q, &cfg);
		if (ret)
			goto err_free;
		break;
	case V4L2_CTRL_TYPE_BITMASK:
		cfg.max = q->maximum;
		cfg.def = q->default_value;
		break;
	case V4L2_CTRL_TYPE_STRING:
		cfg.min = q->minimum;
		cfg.max = q->maximum;
		cfg.step = q->step;
		break;
	case V4L2_CTRL_TYPE_BUTTON:
	case V4L2_CTRL_TYPE_CTRL_CLASS:
		break;
	default:
		cfg.min = q->minimum;
		cfg.max = q->maximum;
		cfg.step = q->type == V4L2_CTRL_TYPE_BOOLEAN ? 1 : q->step;
		cfg.def = q->default_value;
		break;
	}

	control->ctrl = v4l2_ctrl_new_custom(&dev->ctrl_handler, &cfg, control);
	if (!control->ctrl) {
		/* The others are not to suffer for it. */
		ret = dev->ctrl_handler.error;
		dev->ctrl_handler.error = 0;
		goto err_free;
	}
	spin_lock_irqsave(&dev->lock, flags);
	list_add_tail(&control->node, &dev->controls);
	spin_unlock_irqrestore(&dev->lock, flags);
	return 0;

err_free:
	pinhole_control_free(control);
	return ret;
}

/**
 * pinhole_control_class() - see to it that a control has a class
 * @dev: device
 * @id: control
 *
 * The framework makes the class controls that V4L2 defines by itself. A class
 * of the card's own needs one, too, and the card may not have it.
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
static int pinhole_control_class(struct pinhole_device *dev, u32 id)
{
	struct v4l2_query_ext_ctrl q = {
		.id = V4L2_CTRL_ID2WHICH(id) | 1,
		.type = V4L2_CTRL_TYPE_CTRL_CLASS,
		.flags = V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY,
	};

	if (id == q.id || v4l2_ctrl_get_name(q.id) ||
	    v4l2_ctrl_find(&dev->ctrl_handler, q.id))
		return 0;
	snprintf(q.name, sizeof(q.name), "Controls of Class 0x%08lx",
		 V4L2_CTRL_ID2WHICH(id));
	return pinhole_control_add(dev, &q);
}

/**
 * pinhole_controls_query() - ask the card for its controls
 * @dev: device
 *
 * Context: Process context. Waits for the card.
 * Return: 0, or a negative errno that says nothing of the card.
 */
static int pinhole_controls_query(struct pinhole_device *dev)
{
	unsigned int count, compound = 0;
	u32 id = 0;
	int ret;

	for (count = 0;; count++) {
		struct v4l2_query_ext_ctrl q = {
			.id = id | V4L2_CTRL_FLAG_NEXT_CTRL |
			      V4L2_CTRL_FLAG_NEXT_COMPOUND,
		};

		ret = pinhole_ioctl(dev, VIDIOC_QUERY_EXT_CTRL, &q);
		if (pinhole_is_local(ret))
			return ret;
		if (ret)
			break;
		if (q.id <= id || q.id >= V4L2_CID_PRIVATE_BASE) {
			pinhole_nonsense(dev, VIDIOC_QUERY_EXT_CTRL);
			break;
		}
		if (count == PINHOLE_MAX_CONTROLS) {
			dev_warn(&dev->vdev->dev,
				 "the card has more than %u controls: the rest are left out\n",
				 count);
			break;
		}
		id = q.id;
		if (q.flags & V4L2_CTRL_FLAG_DISABLED)
			continue;
		if (q.type >= V4L2_CTRL_COMPOUND_TYPES || q.nr_of_dims) {
			compound++;
			continue;
		}
		q.name[sizeof(q.name) - 1] = '\0';
		ret = pinhole_control_class(dev, id);
		if (!ret)
			ret = pinhole_control_add(dev, &q);
		if (pinhole_is_local(ret))
			return ret;
		if (ret)
			dev_warn(&dev->vdev->dev,
				 "control 0x%08x makes no sense (%d): left out\n",
				 id, ret);
	}
	if (compound)
		dev_info(&dev->vdev->dev,
			 "%u controls are compound ones or arrays: left out\n",
			 compound);
	return 0;
}

/**
 * pinhole_controls_init() - take over the card's controls
 * @dev: device with a session
 *
 * The values, too, are the card's: it is not set to the framework's defaults.
 * Subscriptions come before values, so that no change is missed.
 *
 * Context: Process context. Takes session_mutex; waits for the card.
 * Return: 0 or a negative errno.
 */
int pinhole_controls_init(struct pinhole_device *dev)
{
	int ret;

	ret = v4l2_ctrl_handler_init(&dev->ctrl_handler, 32);
	if (ret)
		return ret;
	ret = pinhole_controls_query(dev);
	if (ret)
		return ret;

	mutex_lock(&dev->session_mutex);
	ret = pinhole_session_subscribe(dev);
	if (!ret)
		pinhole_controls_stale(dev);
	mutex_unlock(&dev->session_mutex);
	if (ret)
		return ret;
	flush_delayed_work(&dev->control_work);
	return READ_ONCE(dev->fault);
}

/**
 * pinhole_controls_grab() - take hold of the controls that a format depends on
 * @dev: device
 * @grabbed: there are buffers, which are made for the format as it is
 *
 * What the card changes by itself meanwhile is taken over afterwards.
 *
 * Context: Process context; queue_mutex is held. Takes the handler's lock.
 */
void pinhole_controls_grab(struct pinhole_device *dev, bool grabbed)
{
	struct pinhole_control *control;

	list_for_each_entry(control, &dev->controls, node) {
		if (!(control->ctrl->flags & V4L2_CTRL_FLAG_MODIFY_LAYOUT))
			continue;
		v4l2_ctrl_grab(control->ctrl, grabbed);
		if (!grabbed)
			pinhole_control_stale(dev, control);
	}
}

/**
 * pinhole_controls_free() - free the controls
 * @dev: device; nobody uses its node any more
 *
 * Context: Process context.
 * Return: Nothing.
 */
void pinhole_controls_free(struct pinhole_device *dev)
{
	struct pinhole_control *control, *tmp;

	v4l2_ctrl_handler_free(&dev->ctrl_handler);
	list_for_each_entry_safe(control, tmp, &dev->controls, node)
		pinhole_control_free(control);
}
