/* What the files of the vector commands share: the handlers, grammars and errors that vector_specs.c puts into rows. */
#ifndef CMD_VECTOR_CMD_H
#define CMD_VECTOR_CMD_H

#include "cmd/command.h"

/* vector_add.c, vector_madd.c */
enum cmd_result vector_add_vadd(struct cmd_call *call);
enum cmd_result vector_madd_vmadd(struct cmd_call *call);

/* vector_search.c */
enum cmd_result vector_search_vsearch(struct cmd_call *call);
enum cmd_result vector_search_vsim(struct cmd_call *call);
enum cmd_result vector_search_vmsearch(struct cmd_call *call);

/* vector_get.c */
enum cmd_result vector_get_vget(struct cmd_call *call);
enum cmd_result vector_get_vmget(struct cmd_call *call);
enum cmd_result vector_get_vemb(struct cmd_call *call);
enum cmd_result vector_get_vgetattr(struct cmd_call *call);
enum cmd_result vector_get_vcard(struct cmd_call *call);
enum cmd_result vector_get_vdim(struct cmd_call *call);
enum cmd_result vector_get_vismember(struct cmd_call *call);
enum cmd_result vector_get_vinfo(struct cmd_call *call);

/* vector_ids.c */
enum cmd_result vector_ids_vrange(struct cmd_call *call);
enum cmd_result vector_ids_vrandmember(struct cmd_call *call);
enum cmd_result vector_ids_vlinks(struct cmd_call *call);

/* vector_del.c */
enum cmd_result vector_del_vdel(struct cmd_call *call);
enum cmd_result vector_del_vrem(struct cmd_call *call);
enum cmd_result vector_del_vsetattr(struct cmd_call *call);

/* vector_expire.c */
enum cmd_result vector_expire_vexpire(struct cmd_call *call);
enum cmd_result vector_expire_vpexpire(struct cmd_call *call);
enum cmd_result vector_expire_vexpireat(struct cmd_call *call);
enum cmd_result vector_expire_vpexpireat(struct cmd_call *call);
enum cmd_result vector_expire_vttl(struct cmd_call *call);
enum cmd_result vector_expire_vpttl(struct cmd_call *call);
enum cmd_result vector_expire_vexpiretime(struct cmd_call *call);
enum cmd_result vector_expire_vpexpiretime(struct cmd_call *call);
enum cmd_result vector_expire_vpersist(struct cmd_call *call);

/* vector_grammar.c */
extern const struct cmd_arg vector_grammar_vadd[], vector_grammar_vmadd[], vector_grammar_vsearch[],
    vector_grammar_vmsearch[], vector_grammar_vget[], vector_grammar_vmget[], vector_grammar_vemb[],
    vector_grammar_key[], vector_grammar_key_element[], vector_grammar_vdel[], vector_grammar_vsetattr[],
    vector_grammar_vsim[], vector_grammar_vrange[], vector_grammar_vrandmember[], vector_grammar_vlinks[];
extern const struct cmd_error_doc vector_errors_vadd[], vector_errors_vmadd[], vector_errors_vsearch[],
    vector_errors_vmsearch[], vector_errors_vget[], vector_errors_vmget[], vector_errors_vemb[], vector_errors_vdim[],
    vector_errors_vsetattr[], vector_errors_vsim[], vector_errors_vrange[], vector_errors_vrandmember[], vector_errors_vlinks[];

#endif
