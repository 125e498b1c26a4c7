#pragma once
#define NSEC_PER_SEC 1000000000L
