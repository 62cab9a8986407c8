/* Test data that is kept in files. */

#ifndef LOAD_H_INCLUDED_
#define LOAD_H_INCLUDED_


#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static char *load(const char *name, size_t *len);


/* A file beside this one, its last line feed left off, a NUL behind it. */

static char *
load(const char *name, size_t *len)
{
    char   path[4096], *text, *base;
    FILE  *file;

    (void) snprintf(path, sizeof(path), "%s", __FILE__);

    base = strrchr(path, '/');
    base = (base != NULL) ? base + 1 : path;

    (void) snprintf(base, sizeof(path) - (size_t) (base - path), "%s", name);

    text = malloc(65537);
    file = fopen(path, "rb");

    if (text == NULL || file == NULL) {
        printf("Bail out! %s cannot be read\n", path);
        exit(1);
    }

    *len = fread(text, 1, 65536, file);
    (void) fclose(file);

    while (*len > 0 && text[*len - 1] == '\n') {
        (*len)--;
    }

    text[*len] = '\0';

    return text;
}


#endif /* LOAD_H_INCLUDED_ */
