/* The files that are compiled in, what their answers say, and whether a client has them already. */
#include "eventgate/assets.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct eg_web_file page = {"/",
                                        "text/html; charset=utf-8",
                                        {"\"0123abcd\"", (const unsigned char *)"x", 1},
                                        {"\"0123abcd-gzip\"", (const unsigned char *)"x", 1}};

static struct eg_bytes bytes(const char *text)
{
    return (struct eg_bytes){text, strlen(text)};
}

static void the_table_is_sound(void **state)
{
    (void)state;
    assert_true(eg_web_file_count > 0);
    for (size_t i = 0; i < eg_web_file_count; i++) {
        const struct eg_web_file *file = &eg_web_files[i];
        assert_ptr_equal(eg_asset_find(bytes(file->path)), file); /* no path is there twice */
        assert_int_equal(file->path[0], '/');
        assert_non_null(strchr(file->media_type, '/'));
        assert_true(file->plain.length > 0);
        assert_int_equal(strlen(file->plain.etag), 34);
        assert_true(file->plain.etag[0] == '"' && file->plain.etag[33] == '"');
        for (size_t j = 1; j < 33; j++)
            assert_true(isxdigit((unsigned char)file->plain.etag[j]));
        assert_memory_equal(file->gzip.etag, file->plain.etag, 33);
        assert_string_equal(file->gzip.etag + 33, "-gzip\"");
        assert_true(file->gzip.length > 18 && file->gzip.data[0] == 0x1f && file->gzip.data[1] == 0x8b);
        assert_memory_equal(file->gzip.data + 4, "\0\0\0\0", 4); /* no time, so that builds are alike */
    }
}

static void a_file_has_its_own_bytes(void **state)
{
    const struct eg_web_file *file = eg_asset_find(bytes("/openapi.json"));
    (void)state;
    assert_non_null(file);
    assert_string_equal(file->media_type, "application/json");
    FILE *source = fopen(EG_SOURCE_DIR "/gateway/web/openapi.json", "r");
    assert_non_null(source);
    for (size_t i = 0; i < file->plain.length; i++)
        assert_int_equal(fgetc(source), file->plain.data[i]);
    assert_int_equal(fgetc(source), EOF);
    fclose(source);
}

static void other_paths_are_no_files(void **state)
{
    static const char *const paths[] = {"",           "/openapi", "/openapi.jso", "/openapi.json/", "/OPENAPI.JSON",
                                        "/embed",     "/../web",  "openapi.json", "/openapi.jsonx", "/CMakeLists.txt",
                                        "/index.html"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(paths); i++)
        assert_null(eg_asset_find(bytes(paths[i])));
}

static void a_client_may_have_it(void **state)
{
    static const char *const same[] = {
        "\"0123abcd\"", "W/\"0123abcd\"",        " \"a\" , \"0123abcd\"", "\"a\",,W/\"0123abcd\",", "*",
        " * ",          "\"a,b\", \"0123abcd\"", "\"\", \"0123abcd\""};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(same); i++)
        assert_true(eg_asset_is_known(&page.plain, same[i]));
}

static void or_not(void **state)
{
    static const char *const other[] = {"",
                                        " , ",
                                        "\"0123abce\"",
                                        "\"0123abcd",
                                        "0123abcd",
                                        "\"x0123abcd\"",
                                        "\"0123ABCD\"",
                                        "w/\"0123abcd\"",
                                        "nonsense, \"0123abcd\"",
                                        "W/",
                                        "\"",
                                        "*, \"0123abcd\"",
                                        "\"a\", *"};
    (void)state;
    assert_false(eg_asset_is_known(&page.plain, NULL));
    for (size_t i = 0; i < EG_ARRAY_LENGTH(other); i++)
        assert_false(eg_asset_is_known(&page.plain, other[i]));
    assert_false(eg_asset_is_known(&page.gzip, page.plain.etag)); /* other bytes */
    assert_true(eg_asset_is_known(&page.gzip, page.gzip.etag));
}

static void gzip_is_for_those_who_want_it(void **state)
{
    static const char *const wanted[] = {"gzip",
                                         "gzip, deflate, br",
                                         "deflate;q=1.0 , GZIP;q=0.5",
                                         "gzip;q=0.001",
                                         "br;q=0, *",
                                         "identity;q=0, *;q=0.1",
                                         "gzip ; q=1",
                                         ",,gzip",
                                         "*;q=0, gzip"};
    static const char *const not_wanted[] = {"",        "identity",    "br",     "gzip;q=0",       "gzip; q=0.000, *",
                                             "*;q=0",   "gzippy",      "x, gzi", "gzip ;q=0 , br", "GZIP;Q=0.0",
                                             "br, , ,", "deflate;gzip"};
    (void)state;
    assert_ptr_equal(eg_asset_body(&page, NULL), &page.plain);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(wanted); i++)
        assert_ptr_equal(eg_asset_body(&page, wanted[i]), &page.gzip);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(not_wanted); i++)
        assert_ptr_equal(eg_asset_body(&page, not_wanted[i]), &page.plain);
}

static const char *header(const struct eg_web_file *file, const struct eg_web_body *body, const char *name)
{
    static struct eg_header headers[EG_ASSET_HEADERS_MAX + 1];
    eg_asset_headers(file, body, headers);
    for (size_t i = 0; headers[i].name; i++)
        if (strcmp(headers[i].name, name) == 0)
            return headers[i].value;
    return NULL;
}

static void answers_are_asked_for_again_before_they_are_used(void **state)
{
    (void)state;
    assert_string_equal(header(&page, &page.plain, "ETag"), page.plain.etag);
    assert_string_equal(header(&page, &page.gzip, "ETag"), page.gzip.etag);
    assert_string_equal(header(&page, &page.gzip, "Content-Encoding"), "gzip");
    assert_null(header(&page, &page.plain, "Content-Encoding"));
    assert_string_equal(header(&page, &page.plain, "Vary"), "Accept-Encoding");
    assert_string_equal(header(&page, &page.plain, "Cache-Control"), "no-cache");
    assert_string_equal(header(&page, &page.plain, "Referrer-Policy"), "no-referrer");
}

static void a_page_may_use_what_is_served_here_and_nothing_else(void **state)
{
    const struct eg_web_file *file = eg_asset_find(bytes("/openapi.json")), *ours = eg_asset_find(bytes("/"));
    (void)state;
    assert_non_null(ours);
    assert_non_null(header(ours, &ours->plain, "Content-Security-Policy"));
    assert_string_equal(header(&page, &page.gzip, "Content-Security-Policy"),
                        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' "
                        "data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
                        "require-trusted-types-for 'script'; trusted-types 'none'");
    assert_null(header(file, &file->plain, "Content-Security-Policy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(a_file_has_its_own_bytes),
        cmocka_unit_test(other_paths_are_no_files),
        cmocka_unit_test(a_client_may_have_it),
        cmocka_unit_test(or_not),
        cmocka_unit_test(gzip_is_for_those_who_want_it),
        cmocka_unit_test(answers_are_asked_for_again_before_they_are_used),
        cmocka_unit_test(a_page_may_use_what_is_served_here_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
