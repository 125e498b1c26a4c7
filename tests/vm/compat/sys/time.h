/*
 * The times of a 32-bit program, which linux/videodev2.h takes from its libc:
 * as one had them that was built before 2038 was thought of, or with TIME64 as
 * one has them since.
 */
#ifndef SYS_TIME_H
#define SYS_TIME_H

#ifdef TIME64
struct timeval {
	long long tv_sec;
	long long tv_usec;
};

struct timespec {
	long long tv_sec;
	long tv_nsec;
	int padding;
};
#else
struct timeval {
	long tv_sec;
	long tv_usec;
};

struct timespec {
	long tv_sec;
	long tv_nsec;
};
#endif

#endif
